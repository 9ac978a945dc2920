import { z } from 'zod'

/** 1.0 in the Q16 fixed point of all sampler fractions. */
export const Q16_ONE = 65_536
/** Below 0.01 sampling is greedy in all but name, and its reciprocal leaves the machine's domain. */
export const MIN_TEMPERATURE = 655

const penalty = z
  .int()
  .min(-2 * Q16_ONE)
  .max(2 * Q16_ONE)
  .default(0)

/** Tokens that a penalty can look back on. */
export const MAX_PENALTY_WINDOW = 64

/** How a token is chosen: integers only, so that every machine chooses the same one. Fractions are Q16. */
export const samplerSettings = z
  .strictObject({
    /** 0 is greedy; else 0.01 to 4. */
    temperature: z
      .union([
        z.literal(0),
        z
          .int()
          .min(MIN_TEMPERATURE)
          .max(4 * Q16_ONE),
      ])
      .default(0),
    /** 0 keeps every token. */
    topK: z.int().min(0).max(1024).default(0),
    topP: z.int().min(1).max(Q16_ONE).default(Q16_ONE),
    repeatPenalty: z
      .int()
      .min(Q16_ONE)
      .max(4 * Q16_ONE)
      .default(Q16_ONE),
    frequencyPenalty: penalty,
    presencePenalty: penalty,
    /** Tokens looked back on by the penalties. */
    penaltyWindow: z.int().min(0).max(MAX_PENALTY_WINDOW).default(MAX_PENALTY_WINDOW),
    /** With the job's id it keys the noise. */
    seed: z.int().min(0).max(0xffff_ffff).default(0),
  })
  .readonly()

export type SamplerSettings = z.infer<typeof samplerSettings>

/** The settings in their one canonical form, as hashed by TypeScript and Lua. */
export const samplerLine = (s: SamplerSettings): string =>
  [
    s.temperature,
    s.topK,
    s.topP,
    s.repeatPenalty,
    s.frequencyPenalty,
    s.presencePenalty,
    s.penaltyWindow,
    s.seed,
  ].join(',')
