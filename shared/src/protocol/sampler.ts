import { z } from 'zod'

/** 1.0 in the Q16 fixed point of all sampler fractions. */
export const Q16_ONE = 65_536

/** How a token is chosen: integers only, so that every machine chooses the same one. Fractions are Q16. */
export const samplerSettings = z
  .strictObject({
    /** 0 is greedy; at most 4.0. */
    temperature: z
      .int()
      .min(0)
      .max(4 * Q16_ONE)
      .default(0),
    /** 0 keeps every token. */
    topK: z.int().min(0).max(1024).default(0),
    topP: z.int().min(1).max(Q16_ONE).default(Q16_ONE),
    minP: z.int().min(0).max(Q16_ONE).default(0),
    repeatPenalty: z
      .int()
      .min(Q16_ONE)
      .max(4 * Q16_ONE)
      .default(Q16_ONE),
    /** Tokens looked back on by the penalty. */
    penaltyWindow: z.int().min(0).max(64).default(64),
    seed: z.int().min(0).max(0xffff_ffff).default(0),
  })
  .readonly()

export type SamplerSettings = z.infer<typeof samplerSettings>

/** The settings in their one canonical form, as hashed by TypeScript and Lua. */
export const samplerLine = (s: SamplerSettings): string =>
  [s.temperature, s.topK, s.topP, s.minP, s.repeatPenalty, s.penaltyWindow, s.seed].join(',')
