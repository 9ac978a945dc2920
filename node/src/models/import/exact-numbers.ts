/**
 * Exact real numbers for import: Math.pow, Math.log2 and Math.cos differ between JavaScript engines, so constants are
 * computed in fixed point with FRACTION_BITS bits, far more than any result keeps.
 */
export const FRACTION_BITS = 256n
export const ONE = 1n << FRACTION_BITS

/** floor(√n). */
function integerRoot(n: bigint): bigint {
  if (n < 2n) return n
  let x = 1n << BigInt((n.toString(2).length + 1) >> 1)
  for (;;) {
    const next = (x + n / x) >> 1n
    if (next >= x) return x
    x = next
  }
}

/** √x of a fixed-point number. */
export const fixedRoot = (x: bigint): bigint => integerRoot(x << FRACTION_BITS)

/** A finite double as the exact fraction it is. */
export function exactFraction(x: number): { numerator: bigint; denominator: bigint } {
  let denominator = 1n
  let scaled = x
  while (!Number.isInteger(scaled)) {
    scaled *= 2
    denominator *= 2n
  }
  return { numerator: BigInt(scaled), denominator }
}

/** Nearest integer to numerator/denominator (denominator > 0), halves up. */
export const roundedQuotient = (numerator: bigint, denominator: bigint): bigint => {
  const doubled = 2n * numerator + denominator
  const quotient = doubled / (2n * denominator)
  return doubled < 0n && doubled % (2n * denominator) !== 0n ? quotient - 1n : quotient
}

/** The double nearest to a positive fixed-point number. */
export function nearestDouble(x: bigint): number {
  const shift = BigInt(Math.max(0, x.toString(2).length - 64))
  return Number(x >> shift) / Number(1n << (FRACTION_BITS - shift))
}

/** π·2^FRACTION_BITS, by Machin's formula. */
export const PI = 4n * (4n * arctanOfInverse(5n) - arctanOfInverse(239n))

/** log2(e)·2^FRACTION_BITS. */
export const LOG2_E = (ONE * ONE) / naturalLogOfTwo()

function arctanOfInverse(n: bigint): bigint {
  let power = ONE / n
  let sum = power
  for (let k = 1n; power !== 0n; k++) {
    power /= n * n
    const term = power / (2n * k + 1n)
    sum += k % 2n === 1n ? -term : term
  }
  return sum
}

// ln 2 = Σ 1/(k·2^k)
function naturalLogOfTwo(): bigint {
  let sum = 0n
  for (let k = 1n; k <= FRACTION_BITS; k++) sum += ONE / (k << k)
  return sum
}
