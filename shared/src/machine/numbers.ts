/** Largest magnitude of a stored i32 value. */
export const SAT = 2 ** 30 - 1
const EXACT = 2 ** 52

export const sat = (v: number): number => Math.max(-SAT, Math.min(SAT, v))

/** floor((v + 2^(s−1)) / 2^s), or v for s = 0; |v| ≤ 2^52. */
export const rs = (v: number, s: number): number => (s === 0 ? v : Math.floor((v + 2 ** (s - 1)) / 2 ** s))

/** The same for integers of any size. */
export const rsBig = (v: bigint, s: number): bigint =>
  s === 0 ? v : (v + (1n << BigInt(s - 1))) >> BigInt(s)

/** sat(rs(a·b, s)) with the exact product. */
export function mulrs(a: number, b: number, s: number): number {
  const product = a * b
  if (Math.abs(product) < EXACT && s <= 52) return sat(rs(product, s))
  return satBig(rsBig(BigInt(a) * BigInt(b), s))
}

export const satBig = (v: bigint): number => (v > BigInt(SAT) ? SAT : v < -BigInt(SAT) ? -SAT : Number(v))

/** 0 for 0, else floor(log2 n) + 1; 0 ≤ n < 2^53. */
export const bitlen = (n: number): number =>
  n < 2 ** 32 ? 32 - Math.clz32(n) : 64 - Math.clz32(Math.floor(n / 2 ** 32))

export const maxAbs = (values: ArrayLike<number>, from = 0, to = values.length): number => {
  let most = 0
  for (let i = from; i < to; i++) {
    const v = Math.abs(values[i] as number)
    if (v > most) most = v
  }
  return most
}
