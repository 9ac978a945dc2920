import { sha256 } from '../hashing/digest.ts'
import type { SamplerSettings } from '../protocol/sampler.ts'
import { mulrs, rs, sat } from './numbers.ts'
import { exp2n, log2q, philox } from './scalars.ts'
import { TILE_TOKENS } from './sizes.ts'

/** 2^32 · log2(e): the reciprocal of a temperature of one in Q16, in log2 units. */
const INVERSE_TEMPERATURE = 6_196_328_019
const OFF = 65_536

export type NoiseKey = readonly [number, number]

/** A token with its score; of equal scores the lower index comes first. */
export interface Ranked {
  readonly value: number
  readonly index: number
}

/** What an empty tile offers. */
export const NOBODY: Ranked = { value: -(2 ** 31), index: 2 ** 32 - 1 }

/** The key of a job's noise: the first eight bytes of SHA-256("apus.machine.1/noise" ‖ bytes). */
export function noiseKey(bytes: Uint8Array): NoiseKey {
  const hash = Buffer.from(sha256(Buffer.from('apus.machine.1/noise'), bytes))
  return [hash.readUInt32LE(0), hash.readUInt32LE(4)]
}

/** The bytes that key a job's noise. */
export const jobNoise = (job: string, seed: number): NoiseKey => noiseKey(Buffer.from(`${job}:${seed}`))

export const isGreedy = (s: SamplerSettings): boolean => s.temperature === 0
export const usesTopK = (s: SamplerSettings, vocab: number): boolean =>
  !isGreedy(s) && s.topK > 0 && s.topK < vocab
export const usesTopP = (s: SamplerSettings): boolean => !isGreedy(s) && s.topP < OFF

/** Logits after penalties and temperature; `recent` are the last `penaltyWindow` tokens of the sequence. */
export function scores(logits: Int32Array, s: SamplerSettings, recent: readonly number[]): Int32Array {
  const counts = new Map<number, number>()
  for (const token of recent) counts.set(token, (counts.get(token) ?? 0) + 1)
  const inverse = isGreedy(s)
    ? undefined
    : Math.floor((INVERSE_TEMPERATURE + Math.floor(s.temperature / 2)) / s.temperature)
  return logits.map((logit, v) => scoreOf(logit, counts.get(v) ?? 0, s, inverse))
}

/** The score of one token: its logit, how often it occurs in the window, and the reciprocal temperature. */
function scoreOf(logit: number, count: number, s: SamplerSettings, inverse: number | undefined): number {
  let l = logit
  if (count > 0) {
    const shrink = Math.floor((2 ** 32 + Math.floor(s.repeatPenalty / 2)) / s.repeatPenalty)
    l = l > 0 ? mulrs(l, shrink, 16) : mulrs(l, s.repeatPenalty, 16)
    l = sat(l - count * s.frequencyPenalty - s.presencePenalty)
  }
  return inverse === undefined ? l : mulrs(l, inverse, 16)
}

/** Whether a comes before b: greater value, then lower index. */
export const before = (a: Ranked, b: Ranked): boolean =>
  a.value > b.value || (a.value === b.value && a.index < b.index)

/** `i32 value ‖ u32 index`. */
export function encodeRanked({ value, index }: Ranked): Uint8Array {
  const bytes = Buffer.alloc(8)
  bytes.writeInt32LE(value)
  bytes.writeUInt32LE(index, 4)
  return new Uint8Array(bytes)
}

export function decodeRanked(bytes: Uint8Array, at = 0): Ranked {
  const buffer = Buffer.from(bytes)
  return { value: buffer.readInt32LE(at), index: buffer.readUInt32LE(at + 4) }
}

export const bestOf = (candidates: Iterable<Ranked>): Ranked => {
  let best = NOBODY
  for (const token of candidates) if (before(token, best)) best = token
  return best
}

/** Tokens with their scores; the first score is that of token `first`. */
export const ranked = (z: Int32Array, first = 0): Ranked[] =>
  Array.from(z, (value, i) => ({ value, index: first + i }))

export const tilesOf = (vocab: number): number => Math.ceil(vocab / TILE_TOKENS)

/** Mass of a token relative to the greatest score, Q24. */
export const mass = (max: number, z: number): number => exp2n(max - z) >>> 6

/** Mass of all these tokens, exact: below 2^42. */
export const totalMass = (max: number, tokens: readonly Ranked[]): number =>
  tokens.reduce((sum, token) => sum + mass(max, token.value), 0)

/** The mass of kept tokens up to which top-p keeps. */
export const topPTarget = (topP: number, total: number): number =>
  Number((BigInt(topP) * BigInt(total) + 65_535n) >> 16n)

/** Integer Gumbel noise of a token, Q16 in log2 units; `position` is that of the chosen token. */
export function gumbel(key: NoiseKey, token: number, position: number): number {
  const four = philox(key, [token >>> 2, position, 0, 0])
  const a = ((four[token & 3] as number) | 1) >>> 0
  if (a < 2 ** 23) {
    const tail = Math.floor(((a >>> 9) * 47_274) / 2 ** 23)
    return 2 ** 21 - rs(log2q(a), 8) - 34_653 - tail
  }
  return 2 ** 20 + 2 ** 19 - rs(log2q(2 ** 29 - log2q(2 ** 32 - a)), 8)
}

/** A token with its noise added. */
export const noisy = ({ value, index }: Ranked, key: NoiseKey, position: number): Ranked => ({
  value: value + gumbel(key, index, position),
  index,
})

/** What choosing a token decides. */
export interface Choice {
  readonly z: Int32Array
  readonly max: Ranked
  /** Last token that top-k keeps, last that top-p keeps. */
  readonly topK: Ranked | undefined
  readonly topP: Ranked | undefined
  readonly token: number
}

/** Chooses the token that follows `position − 1`; `recent` are the last tokens, as many as the penalties look at. */
export function choose(
  logits: Int32Array,
  s: SamplerSettings,
  recent: readonly number[],
  key: NoiseKey,
  position: number,
): Choice {
  const z = scores(logits, s, recent)
  const tokens = ranked(z)
  const max = bestOf(tokens)
  if (isGreedy(s)) return { z, max, topK: undefined, topP: undefined, token: max.index }
  let kept = tokens
  if (usesTopK(s, z.length) || usesTopP(s)) kept.sort((a, b) => b.value - a.value || a.index - b.index)
  if (usesTopK(s, z.length)) kept = kept.slice(0, s.topK)
  const topK = usesTopK(s, z.length) ? kept.at(-1) : undefined
  const topP = usesTopP(s) ? lastOfMass(kept, max.value, s.topP) : undefined
  const drawn = bestOf(kept.filter(keeping(topP)).map(token => noisy(token, key, position)))
  return { z, max, topK, topP, token: drawn.index }
}

/** Admits the tokens up to every threshold that there is. */
export const keeping =
  (...thresholds: readonly (Ranked | undefined)[]) =>
  (token: Ranked): boolean =>
    thresholds.every(last => last === undefined || !before(last, token))

function lastOfMass(kept: readonly Ranked[], max: number, topP: number): Ranked {
  const target = topPTarget(topP, totalMass(max, kept))
  let sum = 0
  for (const token of kept) {
    sum += mass(max, token.value)
    if (sum >= target) return token
  }
  throw new RangeError('the mass of the kept tokens is less than their share of it')
}
