import { toBase64Url } from '@apus/shared/hashing'
import {
  cosine,
  EXP2,
  exp2n,
  LOG2,
  log2q,
  philox,
  rsqrt,
  SIGMOID,
  SIN,
  sigmoid,
  sine,
} from '@apus/shared/machine'
import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { sha256 } from '../../../../shared/src/hashing/digest.ts'
import { TABLE_DIGEST } from '../../../../shared/src/machine/tables.ts'

// Fixed point of 200 fraction bits, far beyond what deciding the nearest integer of a table needs.
const BITS = 200n
const ONE = 1n << BITS
const times = (a: bigint, b: bigint) => (a * b) >> BITS

function root(x: bigint): bigint {
  let y = ONE << 1n
  for (let i = 0; i < 220; i++) y = (y + (x << BITS) / y) >> 1n
  return y
}

/** The sum of terms that shrink to nothing. */
function series(first: bigint, next: (term: bigint, i: bigint) => bigint): bigint {
  let sum = 0n
  for (let term = first, i = 1n; term !== 0n; i++) {
    sum += term
    term = next(term, i)
  }
  return sum
}

const exp = (x: bigint) => series(ONE, (term, i) => times(term, x) / i)
const sin = (x: bigint) => series(x, (term, i) => -(times(times(term, x), x) / (2n * i * (2n * i + 1n))))
/** ln((1 + z)/(1 − z)) / 2 */
function artanh(z: bigint): bigint {
  let power = z
  let sum = 0n
  for (let i = 1n; power !== 0n; i += 2n) {
    sum += power / i
    power = times(times(power, z), z)
  }
  return sum
}
const ln = (x: bigint) => 2n * artanh(((x - ONE) << BITS) / (x + ONE))
const arctan = (n: bigint): bigint => {
  let power = ONE / n
  let sum = 0n
  for (let i = 1n; power !== 0n; i += 2n) {
    sum += i % 4n === 1n ? power / i : -(power / i)
    power /= n * n
  }
  return sum
}
const PI = 4n * (4n * arctan(5n) - arctan(239n))
const nearest = (x: bigint, bits: bigint): number => Number(((x >> (BITS - bits - 1n)) + 1n) >> 1n)
const integers = (count: number) => Array.from({ length: count }, (_, i) => BigInt(i))

describe('the tables', () => {
  it('are the nearest integers of 2^−x', () => {
    let step = ONE / 2n
    for (let i = 0; i < 8; i++) step = root(step)
    let value = ONE
    const exact = integers(257).map(() => {
      const entry = nearest(value, 30n)
      value = times(value, step)
      return entry
    })
    expect([...EXP2]).toEqual(exact)
  })

  it('are the nearest integers of the sine, the last one twice', () => {
    const exact = integers(1025).map(i => nearest(sin((PI * i) / 2048n), 30n))
    expect([...SIN]).toEqual([...exact, exact[1024]])
  })

  it('are the nearest integers of the logistic function, the last one twice', () => {
    const exact = integers(1025).map(i => nearest((ONE << BITS) / (ONE + exp((-i * ONE) / 64n)), 30n))
    expect([...SIGMOID]).toEqual([...exact, exact[1024]])
  })

  it('are the nearest integers of log2, the last one twice', () => {
    const exact = integers(257).map(i => nearest((ln(ONE + (i * ONE) / 256n) << BITS) / ln(2n * ONE), 24n))
    expect([...LOG2]).toEqual([...exact, exact[256]])
  })

  it('have the digest that the specification names', () => {
    const bytes = Buffer.concat([EXP2, SIN, SIGMOID, LOG2].map(t => new Uint8Array(t.buffer)))
    expect(toBase64Url(sha256(bytes))).toBe(TABLE_DIGEST)
    expect(Buffer.from(TABLE_DIGEST, 'base64url').toString('hex')).toBe(
      '78c2f4c27441113e5d8e36ca897c6154b9d5bc4805d4da22cb6586e49fd08084',
    )
  })
})

const big = (table: Uint32Array, i: bigint) => BigInt(table[Number(i)]!)

describe('exp2n', () => {
  const reference = (d: bigint): bigint => {
    const n = d >> 16n
    if (n > 30n) return 0n
    const i = (d >> 8n) & 255n
    const step = big(EXP2, i) - big(EXP2, i + 1n)
    return (big(EXP2, i) - ((step * (d & 255n) + 128n) >> 8n)) >> n
  }

  it('is the specified integer for every distance', () => {
    const distance = fc.oneof(
      fc.integer({ min: 0, max: 2 ** 31 - 2 }),
      fc.integer({ min: 0, max: 32 * 65_536 }),
    )
    fc.assert(
      fc.property(distance, d => exp2n(d) === Number(reference(BigInt(d)))),
      { numRuns: 5000 },
    )
  })

  it('is one at zero and nothing beyond 30 bits', () => {
    expect([0, 65_536, 31 * 65_536 - 1, 31 * 65_536, 2 ** 31 - 2].map(exp2n)).toEqual([
      2 ** 30,
      2 ** 29,
      0,
      0,
      0,
    ])
    expect(exp2n(30 * 65_536)).toBe(1)
  })

  it('never grows and stays within 2^−19 of the real function', () => {
    const distances = Array.from({ length: 2 * 65_536 }, (_, d) => d)
    const values = distances.map(exp2n)
    expect(values.findIndex((y, d) => d > 0 && y > values[d - 1]!)).toBe(-1)
    const worst = distances.reduce(
      (most, d) => Math.max(most, Math.abs(values[d]! / 2 ** 30 - 2 ** (-d / 65_536))),
      0,
    )
    expect(worst).toBeLessThan(2 ** -19)
  })
})

describe('sigmoid', () => {
  const reference = (g: bigint, gate: bigint): bigint => {
    const half = 1n << (gate - 16n)
    const a = ((g < 0n ? -g : g) + half) >> (gate - 15n)
    let s = 1n << 30n
    if (a < 1n << 19n) {
      const i = a >> 9n
      s = big(SIGMOID, i) + (((big(SIGMOID, i + 1n) - big(SIGMOID, i)) * (a & 511n) + 256n) >> 9n)
    }
    return g >= 0n ? s : (1n << 30n) - s
  }
  const gate = fc.constantFrom(16, 18)
  const argument = fc.oneof(
    fc.integer({ min: -(2 ** 30) + 1, max: 2 ** 30 - 1 }),
    fc.integer({ min: -(2 ** 23), max: 2 ** 23 }),
  )

  it('is the specified integer', () => {
    fc.assert(
      fc.property(
        argument,
        gate,
        (g, bits) => sigmoid(g, bits) === Number(reference(BigInt(g), BigInt(bits))),
      ),
      { numRuns: 5000 },
    )
  })

  it('mirrors about a half and saturates', () => {
    fc.assert(
      fc.property(argument, gate, (g, bits) => sigmoid(g, bits) + sigmoid(-g, bits) === 2 ** 30 || g === 0),
    )
    expect([sigmoid(0, 16), sigmoid(2 ** 30 - 1, 16), sigmoid(-(2 ** 30) + 1, 18)]).toEqual([
      2 ** 29,
      2 ** 30,
      0,
    ])
    for (const edge of [-1, 0, 1].map(o => 2 ** 20 + o)) {
      expect(sigmoid(edge, 16)).toBe(Number(reference(BigInt(edge), 16n)))
    }
  })
})

describe('sine', () => {
  const reference = (u: bigint): bigint => {
    const k = u >> 19n
    const w = k % 2n === 1n ? (1n << 19n) - (u % (1n << 19n)) : u % (1n << 19n)
    const i = w >> 9n
    const s = big(SIN, i) + (((big(SIN, i + 1n) - big(SIN, i)) * (w & 511n) + 256n) >> 9n)
    return k < 2n ? s : -s
  }

  it('is the specified integer for every angle, and the cosine a quarter ahead', () => {
    const angles = Array.from({ length: 60_000 }, (_, i) => (i * 37) % 2 ** 21)
    expect(angles.filter(u => sine(u) !== Number(reference(BigInt(u))))).toEqual([])
    expect(angles.filter(u => cosine(u) !== sine((u + 2 ** 19) % 2 ** 21))).toEqual([])
  })

  it('is exact where the quadrants meet', () => {
    expect([0, 1, 2, 3].map(k => sine(k * 2 ** 19) + 0)).toEqual([0, 2 ** 30, 0, -(2 ** 30)])
    expect(sine(2 ** 19 + 1)).toBe(sine(2 ** 19 - 1))
    expect(sine(2 ** 21 - 1)).toBe(-sine(1))
  })
})

describe('rsqrt', () => {
  const reference = (V: bigint): [bigint, bigint] => {
    const b = BigInt(V.toString(2).length)
    const e = b + (b % 2n)
    const v = (V << 32n) >> e
    let y = 2362232012n - ((v * 1288490189n) >> 32n)
    for (let i = 0; i < 4; i++) {
      const t = (y * y) >> 31n
      y = (y * (1610612736n - ((v * t) >> 32n))) >> 30n
      expect(v * t).toBeLessThan(2n ** 63n)
    }
    return [y, e / 2n]
  }
  const domain = fc
    .tuple(fc.integer({ min: 0, max: 49 }), fc.nat(), fc.nat())
    .map(([bits, a, b]) => 2 ** bits + Math.floor((((a * 2 ** 20) % 2 ** 49) + b) % 2 ** bits))

  it('is the specified pair, and 1/√V to 2^−28 of itself', () => {
    const edges = Array.from({ length: 50 }, (_, i) => [2 ** i, 2 ** (i + 1) - 1]).flat()
    const check = (V: number) => {
      const [y, h] = rsqrt(V)
      expect([BigInt(y), BigInt(h)]).toEqual(reference(BigInt(V)))
      expect(y).toBeGreaterThan(2 ** 30 - 64)
      expect(y).toBeLessThan(2 ** 32)
      expect(Math.abs(y * 2 ** -30 * 2 ** -h * Math.sqrt(V) - 1)).toBeLessThan(2 ** -28)
    }
    for (const V of edges) check(V)
    fc.assert(fc.property(domain, check), { numRuns: 2000 })
  })
})

describe('log2q', () => {
  const reference = (n: bigint): bigint => {
    const b = BigInt(n.toString(2).length - 1)
    const m = (n << (31n - b)) % (1n << 31n)
    const i = m >> 23n
    const r = (m >> 8n) & 32_767n
    return (b << 24n) + big(LOG2, i) + (((big(LOG2, i + 1n) - big(LOG2, i)) * r + 16_384n) >> 15n)
  }

  it('is the specified integer, near the real logarithm', () => {
    const check = (n: number) => {
      expect(log2q(n)).toBe(Number(reference(BigInt(n))))
      expect(Math.abs(log2q(n) / 2 ** 24 - Math.log2(n))).toBeLessThan(2 ** -18)
    }
    for (let b = 0; b < 32; b++) for (const n of [2 ** b, 2 ** (b + 1) - 1]) check(n)
    fc.assert(fc.property(fc.integer({ min: 1, max: 2 ** 32 - 1 }), check), { numRuns: 3000 })
  })
})

describe('philox', () => {
  it('gives the known answers of Random123', () => {
    const hex = (four: readonly number[]) => four.map(v => v.toString(16).padStart(8, '0')).join(' ')
    const all = 0xffffffff
    expect(hex(philox([0, 0], [0, 0, 0, 0]))).toBe('6627e8d5 e169c58d bc57ac4c 9b00dbd8')
    expect(hex(philox([all, all], [all, all, all, all]))).toBe('408f276d 41c83b0e a20bc7c6 6d5451fd')
    expect(hex(philox([0xa4093822, 0x299f31d0], [0x243f6a88, 0x85a308d3, 0x13198a2e, 0x03707344]))).toBe(
      'd16cfe09 94fdcceb 5001e420 24126ea1',
    )
  })
})
