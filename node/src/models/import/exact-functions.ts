/**
 * exp, sine and cosine from + − × alone, so that every JavaScript engine gives the same double (Math.exp and Math.cos
 * are not specified to the bit). Accurate to about 1e-14.
 */
export function exp(x: number): number {
  if (x < -700) return 0
  if (x > 700) return Number.POSITIVE_INFINITY
  const k = Math.round(x * Math.LOG2E)
  const r = x - k * LN2_HIGH - k * LN2_LOW
  let term = 1
  let sum = 1
  for (let i = 1; i <= 16; i++) {
    term = (term * r) / i
    sum += term
  }
  return sum * powerOfTwo(k)
}

/** [sine, cosine] of an angle in turns, 0 ≤ turns < 1. */
export function sineCosine(turns: number): readonly [sine: number, cosine: number] {
  const quarter = Math.round(turns * 4)
  const x = (turns - quarter / 4) * TWO_PI
  let sine = 0
  let cosine = 0
  let term = 1
  for (let i = 0; i < 18; i += 2) {
    cosine += term
    term = (term * x) / (i + 1)
    sine += term
    term = (-term * x) / (i + 2)
  }
  switch (quarter % 4) {
    case 0:
      return [sine, cosine]
    case 1:
      return [cosine, -sine]
    case 2:
      return [-sine, -cosine]
    default:
      return [-cosine, sine]
  }
}

// ln 2 in two parts: the first has trailing zeros, so that its multiples are exact.
const LN2_HIGH = 0.6931471803691238
const LN2_LOW = 1.9082149292705877e-10
const TWO_PI = 6.283185307179586

const scratch = new DataView(new ArrayBuffer(8))

function powerOfTwo(k: number): number {
  if (k < -1022) return powerOfTwo(k + 100) * powerOfTwo(-100)
  scratch.setBigUint64(0, BigInt(k + 1023) << 52n)
  return scratch.getFloat64(0)
}
