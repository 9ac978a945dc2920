import type { NoiseKey } from '@apus/shared/machine'
import type { SamplerSettings } from '@apus/shared/protocol'
import { SAMPLER_WORDS } from './gpu-state.ts'

/** 2^32 · log2(e), the numerator of the inverse temperature. */
const INVERSE_TEMPERATURE_ONE = 6_196_328_019

/** The settings of one sequence as the sampling kernels read them (`kernels/sampler.wgsl`). */
export function packSampler(sampler: SamplerSettings, noise: NoiseKey): Uint32Array<ArrayBuffer> {
  const { temperature, repeatPenalty } = sampler
  const half = Math.floor(temperature / 2)
  const words = new Uint32Array(SAMPLER_WORDS)
  words.set([
    temperature === 0 ? 1 : 0,
    temperature === 0 ? 0 : Math.floor((INVERSE_TEMPERATURE_ONE + half) / temperature),
    sampler.topK,
    sampler.topP,
    repeatPenalty,
    Math.floor((2 ** 32 + Math.floor(repeatPenalty / 2)) / repeatPenalty),
    sampler.frequencyPenalty >>> 0,
    sampler.presencePenalty >>> 0,
    sampler.penaltyWindow,
    ...noise,
  ])
  return words
}
