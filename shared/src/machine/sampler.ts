import { sha256 } from '../hashing/digest.ts'
import type { SamplerSettings } from '../protocol/sampler.ts'
import { mulrs, rs, sat } from './numbers.ts'
import { exp2n, log2q, philox } from './scalars.ts'

export const TILE_TOKENS = 1024
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

/** The best of a tile of 1024 tokens that `keep` admits. */
export function bestOfTile(
  z: ArrayLike<number>,
  tile: number,
  keep: (token: Ranked) => boolean = () => true,
): Ranked {
  let best = NOBODY
  const end = Math.min(z.length, (tile + 1) * TILE_TOKENS)
  for (let index = tile * TILE_TOKENS; index < end; index++) {
    const token = { value: z[index] as number, index }
    if (keep(token) && before(token, best)) best = token
  }
  return best
}

export const bestOf = (candidates: readonly Ranked[]): Ranked =>
  candidates.reduce((best, token) => (before(token, best) ? token : best), NOBODY)

export const tilesOf = (vocab: number): number => Math.ceil(vocab / TILE_TOKENS)

export const bestTiles = (z: ArrayLike<number>, keep?: (token: Ranked) => boolean): Ranked[] =>
  Array.from({ length: tilesOf(z.length) }, (_, tile) => bestOfTile(z, tile, keep))

/** Mass of a token relative to the greatest score, Q24. */
export const mass = (max: number, z: number): number => exp2n(max - z) >>> 6

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

/** Everything that choosing a token decides, in the order of the plan. */
export interface Choice {
  readonly z: Int32Array
  readonly max: Ranked
  /** Last token that top-k keeps, last that top-p keeps. */
  readonly topK: Ranked | undefined
  readonly topP: Ranked | undefined
  /** z plus noise, when the token is drawn. */
  readonly noisy: Float64Array | undefined
  readonly token: number
}

/** Chooses the token that follows `position − 1`. */
export function choose(
  logits: Int32Array,
  s: SamplerSettings,
  recent: readonly number[],
  key: NoiseKey,
  position: number,
): Choice {
  const z = scores(logits, s, recent)
  const max = bestOf(bestTiles(z))
  if (isGreedy(s)) {
    return { z, max, topK: undefined, topP: undefined, noisy: undefined, token: max.index }
  }
  const order = ranking(z, s)
  const topK = usesTopK(s, z.length) ? order[s.topK - 1] : undefined
  const kept = topK ? order.slice(0, s.topK) : order
  const topP = usesTopP(s) ? lastOfMass(kept, max.value, s.topP) : undefined
  const keep = keeping(topK, topP)
  const noisy = Float64Array.from(z, (value, v) => value + gumbel(key, v, position))
  const pick = bestOf(
    Array.from({ length: tilesOf(z.length) }, (_, tile) =>
      bestOfTile(noisy, tile, token => keep({ value: z[token.index] as number, index: token.index })),
    ),
  )
  return { z, max, topK, topP, noisy, token: pick.index }
}

/** Admits the tokens up to both thresholds. */
export const keeping =
  (topK: Ranked | undefined, topP: Ranked | undefined) =>
  (token: Ranked): boolean =>
    !(topK && before(topK, token)) && !(topP && before(topP, token))

function ranking(z: Int32Array, s: SamplerSettings): Ranked[] {
  if (!usesTopK(s, z.length) && !usesTopP(s)) return []
  return Array.from(z, (value, index) => ({ value, index })).sort(
    (a, b) => b.value - a.value || a.index - b.index,
  )
}

function lastOfMass(kept: readonly Ranked[], max: number, topP: number): Ranked {
  const total = kept.reduce((sum, token) => sum + mass(max, token.value), 0)
  const target = topPTarget(topP, total)
  let sum = 0
  for (const token of kept) {
    sum += mass(max, token.value)
    if (sum >= target) return token
  }
  throw new RangeError('the mass of the kept tokens is less than their share of it')
}
