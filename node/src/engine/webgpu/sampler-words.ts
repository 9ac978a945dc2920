import { SAMPLER_WORDS } from './gpu-state.ts'

/** Sampler settings of the machine (SPEC.md 3.7) with the two words of the noise key. Fractions are Q16. */
export interface SamplerWords {
  readonly temperature: number
  readonly topK: number
  readonly topP: number
  readonly repetition: number
  readonly frequency: number
  readonly presence: number
  readonly window: number
  readonly key: readonly [number, number]
}

/** 2^32 · log2(e), the numerator of the inverse temperature. */
const INVERSE_TEMPERATURE_ONE = 6_196_328_019

/** The settings as the sampling kernels read them. */
export function packSampler(sampler: SamplerWords): Uint32Array<ArrayBuffer> {
  const { temperature, repetition } = sampler
  const words = new Uint32Array(SAMPLER_WORDS)
  words.set([
    temperature === 0 ? 1 : 0,
    temperature === 0 ? 0 : Math.floor((INVERSE_TEMPERATURE_ONE + (temperature >> 1)) / temperature),
    sampler.topK,
    sampler.topP,
    repetition,
    Math.floor((2 ** 32 + (repetition >> 1)) / repetition),
    sampler.frequency >>> 0,
    sampler.presence >>> 0,
    sampler.window,
    sampler.key[0],
    sampler.key[1],
  ])
  return words
}
