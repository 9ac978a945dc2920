import { angle, bitlen, cosine, mulrs, rs, rsBig, SAT, sine } from '@apus/shared/machine'
import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { sat } from '../../../../shared/src/machine/numbers.ts'
import { decodeA8, encodeA8, type PlaneCount, quantize } from '../../../../shared/src/machine/quantizer.ts'
import { decodeRow, encodeRow, Page, rotate, rowOf } from '../../../../shared/src/machine/rows.ts'

const abs = (v: bigint) => (v < 0n ? -v : v)
const clamp = (v: bigint) => (v > 2n ** 30n - 1n ? 2n ** 30n - 1n : v < 1n - 2n ** 30n ? 1n - 2n ** 30n : v)
/** floor((v + 2^(s−1)) / 2^s) by division, whatever the sign. */
function round(v: bigint, s: bigint): bigint {
  if (s === 0n) return v
  const n = v + 2n ** (s - 1n)
  const q = n / 2n ** s
  return n < 0n && q * 2n ** s !== n ? q - 1n : q
}

/** An i32 of the machine, often at an edge. */
const value = fc.oneof(
  fc.integer({ min: -SAT, max: SAT }),
  fc.integer({ min: -300, max: 300 }),
  fc
    .tuple(fc.integer({ min: 0, max: 30 }), fc.integer({ min: -1, max: 1 }), fc.boolean())
    .map(([bits, near, minus]) => {
      const v = Math.min(SAT, 2 ** bits + near)
      return minus ? -v : v
    }),
)

describe('numbers', () => {
  it('rounds halves up, also below zero', () => {
    expect([rs(5, 1), rs(-5, 1), rs(-3, 1), rs(7, 0), rs(-1, 30), rs(6, 2), rs(-6, 2)]).toEqual([
      3, -2, -1, 7, 0, 2, -1,
    ])
    const wide = fc.tuple(value, fc.integer({ min: 0, max: 2 ** 21 })).map(([a, b]) => a * b)
    fc.assert(
      fc.property(wide, fc.integer({ min: 0, max: 50 }), (v, s) => {
        const exact = round(BigInt(v), BigInt(s))
        return BigInt(rs(v, s)) === exact && rsBig(BigInt(v), s) === exact
      }),
      { numRuns: 5000 },
    )
  })

  it('multiplies exactly before it rounds', () => {
    const factor = fc.oneof(value, fc.constant(2 ** 32 - 1), fc.integer({ min: 2 ** 30, max: 2 ** 31 }))
    fc.assert(
      fc.property(value, factor, fc.integer({ min: 0, max: 62 }), (a, b, s) => {
        return BigInt(mulrs(a, b, s)) === clamp(round(BigInt(a) * BigInt(b), BigInt(s)))
      }),
      { numRuns: 10_000 },
    )
  })

  it('saturates on both sides alike', () => {
    expect([2 ** 30, -(2 ** 30), 2 ** 40, 5].map(sat)).toEqual([SAT, -SAT, SAT, 5])
  })

  it('counts bits up to 2^53', () => {
    expect([0, 1, 2, 3, 2 ** 32 - 1, 2 ** 32, 2 ** 50 - 1].map(bitlen)).toEqual([0, 1, 2, 2, 32, 33, 50])
  })
})

describe('the quantiser', () => {
  const vectors = fc.array(value, { minLength: 1, maxLength: 700 })

  function reference(values: readonly number[]) {
    const q: bigint[] = []
    const q2: bigint[] = []
    const scales: bigint[] = []
    for (let from = 0; from < values.length; from += 256) {
      const block = values.slice(from, from + 256).map(BigInt)
      const most = BigInt(Math.max(...block.map(v => Number(abs(v)))))
      const d = (most + 126n) / 127n > 1n ? (most + 126n) / 127n : 1n
      const d2 = (d + 253n) / 254n > 1n ? (d + 253n) / 254n : 1n
      const nearest = (v: bigint, by: bigint) => ((v < 0n ? -1n : 1n) * (2n * abs(v) + by)) / (2n * by)
      for (const v of block) {
        q.push(nearest(v, d))
        q2.push(nearest(v - nearest(v, d) * d, d2))
      }
      scales.push(d)
    }
    return { q: q.map(Number), d: scales.map(Number), q2: q2.map(Number) }
  }

  it('gives the specified integers, all within an i8', () => {
    fc.assert(
      fc.property(vectors, fc.constantFrom<PlaneCount>(1, 2), (values, planes) => {
        const wanted = reference(values)
        const { q, d, q2 } = quantize(values, planes)
        expect([[...q], [...d], q2 && [...q2]]).toEqual([
          wanted.q,
          wanted.d,
          planes === 2 ? wanted.q2 : undefined,
        ])
        expect(Math.min(...wanted.q, ...wanted.q2)).toBeGreaterThanOrEqual(-127)
        expect(Math.max(...wanted.q, ...wanted.q2)).toBeLessThanOrEqual(127)
      }),
    )
  })

  it('reaches its largest scale, and one for an empty block', () => {
    expect([...quantize([SAT, 0, -SAT], 1).d]).toEqual([8_454_661])
    expect([...quantize([0, 0], 2).d]).toEqual([1])
    expect([...quantize([SAT], 2).q]).toEqual([127])
  })

  it('is encoded 1024 values a leaf and read back', () => {
    const lengths = fc.constantFrom(1, 255, 256, 257, 1023, 1024, 1025, 2600)
    fc.assert(
      fc.property(lengths, fc.constantFrom<PlaneCount>(1, 2), fc.integer(), (n, planes, seed) => {
        const a8 = quantize(
          Int32Array.from({ length: n }, (_, i) => Math.imul(i + 1, seed) >> 3),
          planes,
        )
        const leaves = encodeA8(a8)
        expect(leaves.map(leaf => leaf.length)).toEqual(
          Array.from({ length: Math.ceil(n / 1024) }, (_, i) => {
            const m = Math.min(1024, n - i * 1024)
            return m * planes + 4 * Math.ceil(m / 256)
          }),
        )
        expect(decodeA8(leaves, n, planes)).toEqual(a8)
      }),
      { numRuns: 60 },
    )
  })
})

describe('rows', () => {
  const head = fc.array(value, { minLength: 8, maxLength: 8 }).map(v => Int32Array.from(v))

  it('have the least exponent that fits the limit', () => {
    fc.assert(
      fc.property(head, fc.constantFrom(2047, 32_640), (values, limit) => {
        const { e, v } = rowOf(values, limit)
        const most = BigInt(values.reduce((a, x) => Math.max(a, Math.abs(x)), 0))
        expect(round(most, BigInt(e))).toBeLessThanOrEqual(limit)
        if (e > 0) expect(round(most, BigInt(e - 1))).toBeGreaterThan(limit)
        expect(e).toBeLessThanOrEqual(limit === 2047 ? 20 : 16)
        expect([...v].map(BigInt)).toEqual([...values].map(x => round(BigInt(x), BigInt(e))))
        expect(decodeRow(encodeRow({ e, v }))).toEqual({ e, v })
      }),
    )
    expect(rowOf(Int32Array.of(SAT, -SAT), 2047).e).toBe(20)
    expect(rowOf(Int32Array.of(SAT, -SAT), 32_640).e).toBe(16)
    expect(rowOf(Int32Array.of(2047, -2047), 2047).e).toBe(0)
  })

  it('are turned by the angle of position and frequency', () => {
    const frequency = fc.bigInt({ min: 0n, max: 2n ** 44n - 1n })
    const position = fc.integer({ min: 0, max: 2 ** 18 - 1 })
    fc.assert(
      fc.property(frequency, position, (f, t) => {
        const u = (((BigInt(t) * f) % 2n ** 44n) + 2n ** 22n) / 2n ** 23n
        expect(angle(t, f)).toBe(Number(u % 2n ** 21n))
      }),
    )
    // Half a unit below a full turn rounds to a full turn, which is none.
    expect(angle(1, 2n ** 44n - 1n)).toBe(0)
    fc.assert(
      fc.property(head, frequency, position, (values, f, t) => {
        const turned = rotate(values, BigUint64Array.from([f, f, f, f]), t)
        const c = BigInt(cosine(angle(t, f)))
        const s = BigInt(sine(angle(t, f)))
        for (let i = 0; i < 8; i += 2) {
          const [a, b] = [BigInt(values[i]!), BigInt(values[i + 1]!)]
          expect(BigInt(turned[i]!)).toBe(clamp(round(a * c - b * s, 30n)))
          expect(BigInt(turned[i + 1]!)).toBe(clamp(round(a * s + b * c, 30n)))
        }
      }),
    )
  })

  it('stand in pages of 64 whose other rows are zero', () => {
    const page = new Page(8)
    page.set(63, rowOf(Int32Array.of(1, -2, 3, -4, 5, -6, 7, 40_000), 32_640))
    const bytes = page.encode()
    expect(bytes.length).toBe(64 * 17)
    expect([...bytes.subarray(0, 64)]).toEqual([...Array(63).fill(0), 1])
    expect(Page.decode(bytes, 8)).toEqual(page)
    expect(() => Page.decode(bytes.subarray(1), 8)).toThrow(RangeError)
  })
})
