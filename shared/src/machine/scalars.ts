import { bitlen, rs } from './numbers.ts'
import { EXP2, LOG2, SIGMOID, SIN } from './tables.ts'

const ONE = 2 ** 30
const TURN = 2 ** 21
const QUARTER = 2 ** 19

const at = (table: Uint32Array, i: number): number => table[i] as number

/** 2^−d in Q30; d in Q16, not negative. */
export function exp2n(d: number): number {
  const n = Math.floor(d / 65_536)
  if (n > 30) return 0
  const i = (d >>> 8) & 255
  const r = d & 255
  const here = at(EXP2, i)
  return (here - (((here - at(EXP2, i + 1)) * r + 128) >>> 8)) >>> n
}

/** 1/(1 + e^−g) in Q30; g has `gate` fraction bits. */
export function sigmoid(g: number, gate: number): number {
  const a = rs(Math.abs(g), gate - 15)
  let s = ONE
  if (a < QUARTER) {
    const i = a >> 9
    const r = a & 511
    s = at(SIGMOID, i) + (((at(SIGMOID, i + 1) - at(SIGMOID, i)) * r + 256) >> 9)
  }
  return g >= 0 ? s : ONE - s
}

/** Sine in Q30 of an angle of which 2^21 are a turn. */
export function sine(u: number): number {
  const k = u >> 19
  let w = u & (QUARTER - 1)
  if (k & 1) w = QUARTER - w
  const i = w >> 9
  const r = w & 511
  const s = at(SIN, i) + (((at(SIN, i + 1) - at(SIN, i)) * r + 256) >> 9)
  return k < 2 ? s : -s
}

export const cosine = (u: number): number => sine((u + QUARTER) % TURN)

/** [Y, h] with 1/√v ≈ Y·2^−30·2^−h; 1 ≤ v < 2^50. */
export function rsqrt(v: number): readonly [y: number, h: number] {
  const b = bitlen(v)
  const e = b + (b & 1)
  const m = BigInt(Math.floor(v * 2 ** (32 - e)))
  let y = 2362232012n - ((m * 1288490189n) >> 32n)
  for (let i = 0; i < 4; i++) {
    const t = (y * y) >> 31n
    y = (y * (1610612736n - ((m * t) >> 32n))) >> 30n
  }
  return [Number(y), e / 2]
}

/** log2 n in Q24; 1 ≤ n < 2^32. */
export function log2q(n: number): number {
  const b = bitlen(n) - 1
  const m = (n * 2 ** (31 - b)) % 2 ** 31
  const i = Math.floor(m / 2 ** 23)
  const r = (m >>> 8) & 32_767
  const step = (at(LOG2, i + 1) - at(LOG2, i)) * r + 16_384
  return b * 2 ** 24 + at(LOG2, i) + Math.floor(step / 2 ** 15)
}

type Four = readonly [number, number, number, number]

const high = (a: number, b: number): number => Number((BigInt(a) * BigInt(b)) >> 32n)

/** Philox4x32-10: four u32 from a key of two and a counter of four u32. */
export function philox(key: readonly [number, number], counter: Four): Four {
  let [k0, k1] = key
  let [c0, c1, c2, c3] = counter
  for (let round = 0; round < 10; round++) {
    if (round > 0) {
      k0 = (k0 + 0x9e3779b9) >>> 0
      k1 = (k1 + 0xbb67ae85) >>> 0
    }
    const high0 = high(0xd2511f53, c0)
    const low0 = Math.imul(0xd2511f53, c0) >>> 0
    const high1 = high(0xcd9e8d57, c2)
    const low1 = Math.imul(0xcd9e8d57, c2) >>> 0
    c0 = (high1 ^ c1 ^ k0) >>> 0
    c1 = low1
    c2 = (high0 ^ c3 ^ k1) >>> 0
    c3 = low0
  }
  return [c0, c1, c2, c3]
}
