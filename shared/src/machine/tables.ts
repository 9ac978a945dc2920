import { sha256, toBase64Url } from '../hashing/digest.ts'

// Fixed point with 128 fraction bits: every table entry is far from a tie, so truncation in the last bits cannot matter.
const BITS = 128n
const ONE = 1n << BITS

const multiply = (a: bigint, b: bigint): bigint => (a * b) >> BITS
const divide = (a: bigint, b: bigint): bigint => (a << BITS) / b

/** The nearest integer to value · 2^bits, value non-negative in fixed point. */
const nearest = (value: bigint, bits: bigint): number =>
  Number((value + (1n << (BITS - bits - 1n))) >> (BITS - bits))

function squareRoot(value: bigint): bigint {
  const target = value << BITS
  let root = ONE
  for (let next = (root + target / root) >> 1n; next !== root; ) {
    if (next - root === 1n || root - next === 1n) return next < root ? next : root
    root = next
    next = (root + target / root) >> 1n
  }
  return root
}

/** atan(1/n) by its series. */
function arcTangentOfInverse(n: bigint): bigint {
  let power = ONE / n
  let sum = 0n
  for (let k = 1n; power !== 0n; k += 2n) {
    sum += k % 4n === 1n ? power / k : -(power / k)
    power /= n * n
  }
  return sum
}

const PI = 16n * arcTangentOfInverse(5n) - 4n * arcTangentOfInverse(239n)

function sine(angle: bigint): bigint {
  const square = multiply(angle, angle)
  let term = angle
  let sum = 0n
  for (let k = 1n; term !== 0n; k += 2n) {
    sum += term
    term = -multiply(term, square) / ((k + 1n) * (k + 2n))
    if (term < 0n && -term < 2n) break
  }
  return sum
}

function exponential(x: bigint): bigint {
  let term = ONE
  let sum = 0n
  for (let k = 1n; term !== 0n; k++) {
    sum += term
    term = multiply(term, x) / k
  }
  return sum
}

/** ln x for x in [1, 2] by 2·atanh((x − 1)/(x + 1)). */
function logarithm(x: bigint): bigint {
  const z = divide(x - ONE, x + ONE)
  const square = multiply(z, z)
  let power = z
  let sum = 0n
  for (let k = 1n; power !== 0n; k += 2n) {
    sum += power / k
    power = multiply(power, square)
  }
  return 2n * sum
}

function table(entries: number, padded: boolean, entry: (i: bigint) => number): Int32Array {
  const values = Int32Array.from({ length: entries + (padded ? 1 : 0) }, (_, i) =>
    i < entries ? entry(BigInt(i)) : 0,
  )
  if (padded) values[entries] = values[entries - 1] as number
  return values
}

function exp2Table(): Int32Array {
  let step = ONE / 2n
  for (let i = 0; i < 8; i++) step = squareRoot(step)
  let value = ONE
  return table(257, false, () => {
    const rounded = nearest(value, 30n)
    value = multiply(value, step)
    return rounded
  })
}

function sigmoidTable(): Int32Array {
  const step = divide(ONE, exponential(ONE / 64n))
  let value = ONE
  return table(1025, true, () => {
    const rounded = nearest(divide(ONE, ONE + value), 30n)
    value = multiply(value, step)
    return rounded
  })
}

const LN2 = logarithm(2n * ONE)

/** 2^30 · 2^(−i/256), i = 0..256. */
export const EXP2: Int32Array = exp2Table()
/** 2^30 · sin(π/2 · i/1024), i = 0..1024, last entry twice. */
export const SIN: Int32Array = table(1025, true, i => nearest(sine((PI * i) / 2048n), 30n))
/** 2^30 / (1 + e^(−i/64)), i = 0..1024, last entry twice. */
export const SIGMOID: Int32Array = sigmoidTable()
/** 2^24 · log2(1 + i/256), i = 0..256, last entry twice. */
export const LOG2: Int32Array = table(257, true, i =>
  nearest(divide(logarithm(ONE + (ONE * i) / 256n), LN2), 24n),
)

/** SHA-256 of EXP2 ‖ SIN ‖ SIGMOID ‖ LOG2 as u32 little-endian, base64url; pinned by the specification. */
export function tableDigest(): string {
  const parts = [EXP2, SIN, SIGMOID, LOG2].map(values => {
    const bytes = new DataView(new ArrayBuffer(values.length * 4))
    values.forEach((value, i) => {
      bytes.setUint32(i * 4, value, true)
    })
    return new Uint8Array(bytes.buffer)
  })
  return toBase64Url(sha256(...parts))
}
