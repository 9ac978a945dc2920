import { decodeTile, exp2n, mulrs, rsqrt, SAT, sigmoid, tileRows } from '@apus/shared/machine'
import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { activate } from '../../../../shared/src/machine/activation.ts'
import {
  type AttentionNode,
  attendGroup,
  attendHead,
  attendPage,
  decodeNode,
  encodeNode,
} from '../../../../shared/src/machine/attention.ts'
import { embedRow, linearRow, sumParts, type Tile } from '../../../../shared/src/machine/linear.ts'
import {
  decodeParts,
  decodeScale,
  encodeParts,
  encodeScale,
  normed,
  normParts,
  normScale,
} from '../../../../shared/src/machine/norm.ts'
import { type A8, quantize } from '../../../../shared/src/machine/quantizer.ts'
import { Page, rowOf } from '../../../../shared/src/machine/rows.ts'
import { type Random, seededRandom } from '../../../support/random.ts'

const clamp = (v: bigint) => (v > 2n ** 30n - 1n ? 2n ** 30n - 1n : v < 1n - 2n ** 30n ? 1n - 2n ** 30n : v)
const floorDiv = (a: bigint, b: bigint) => (a >= 0n || a % b === 0n ? a / b : a / b - 1n)
const round = (v: bigint, s: number) => (s === 0 ? v : floorDiv(v + 2n ** BigInt(s - 1), 2n ** BigInt(s)))
const bits = (v: bigint) => (v === 0n ? 0 : v.toString(2).length)
const seeds = fc.integer({ min: 0, max: 2 ** 32 - 1 })

/** An i32 of the machine: of any size, often at an edge. */
function wild(random: Random): number {
  const v = random.below(4) === 0 ? SAT : random.below(2 ** random.below(31))
  return random.below(2) === 0 ? v : -v
}
const wilds = (random: Random, count: number) => Int32Array.from({ length: count }, () => wild(random))

describe('linear', () => {
  function anyTile(random: Random, rows: number, columns: number, used: number, full: boolean): Tile {
    return {
      rows,
      columns,
      weights: Int8Array.from({ length: rows * columns }, (_, i) =>
        i % columns >= used ? 0 : full ? 127 : random.below(255) - 127,
      ),
      multipliers: Uint16Array.from({ length: (rows * columns) / 32 }, () =>
        full ? 2047 : random.below(2048),
      ),
      shifts: Uint8Array.from({ length: rows }, () => (full ? 1 : 1 + random.below(56))),
      biases: wilds(random, rows),
    }
  }

  function reference(tile: Tile, row: number, input: A8, segment: number): bigint {
    let total = 0n
    for (let k = 0; k < tile.columns; k++) {
      const at = segment * 8192 + k
      const w =
        BigInt(tile.weights[row * tile.columns + k]!) *
        BigInt(tile.multipliers[Math.floor((row * tile.columns + k) / 32)]!)
      if (at >= input.q.length) continue
      const d = BigInt(input.d[Math.floor(at / 256)]!)
      const d2 = (d + 253n) / 254n
      total += w * (BigInt(input.q[at]!) * d + BigInt(input.q2?.[at] ?? 0) * (d2 < 1n ? 1n : d2))
    }
    expect(total < 2n ** 62n && total > -(2n ** 62n)).toBe(true)
    return clamp(round(total, tile.shifts[row]!) + BigInt(tile.biases[row]!))
  }

  it('is the exact sum, rounded once, in every segment and plane', () => {
    fc.assert(
      fc.property(
        seeds,
        fc.constantFrom(1, 31, 100, 300, 8200, 8500),
        fc.constantFrom(1 as const, 2 as const),
        (seed, n, planes) => {
          const random = seededRandom(seed)
          const input = quantize(wilds(random, n), planes)
          for (let segment = 0; segment * 8192 < n; segment++) {
            const used = Math.min(8192, n - segment * 8192)
            const tile = anyTile(random, 2, Math.ceil(used / 32) * 32, used, false)
            for (const row of [0, 1])
              expect(BigInt(linearRow(tile, row, input, segment))).toBe(reference(tile, row, input, segment))
          }
        },
      ),
      { numRuns: 60 },
    )
  })

  it('keeps the largest sums that there are', () => {
    const random = seededRandom(1)
    const input = quantize(new Int32Array(8192).fill(SAT), 2)
    const tile = anyTile(random, 2, 8192, 8192, true)
    expect(BigInt(linearRow(tile, 0, input, 0))).toBe(reference(tile, 0, input, 0))
    const low = { ...tile, shifts: Uint8Array.of(56, 30), biases: Int32Array.of(0, -SAT) }
    for (const row of [0, 1])
      expect(BigInt(linearRow(low, row, input, 0))).toBe(reference(low, row, input, 0))
  })

  it('adds the segments of a row and saturates once', () => {
    expect(sumParts([SAT, SAT, -SAT])).toBe(SAT)
    expect(sumParts([SAT, SAT])).toBe(SAT)
    expect(sumParts([-SAT])).toBe(-SAT)
  })

  it('cuts tiles by columns', () => {
    expect([1, 32, 256, 257, 512, 513, 4096, 8192, 30_000].map(tileRows)).toEqual([
      64, 64, 64, 32, 32, 16, 4, 2, 2,
    ])
    const leaf = new Uint8Array(2 * 32 + 4 + 2 + 8).fill(255)
    const tile = decodeTile(leaf, 2, 32)
    expect([tile.weights[0], tile.multipliers[1], tile.shifts[1], tile.biases[1]]).toEqual([
      -1, 65_535, 255, -1,
    ])
    expect(() => decodeTile(leaf, 2, 64)).toThrow(RangeError)
  })

  it('embeds with a shift in either direction', () => {
    const random = seededRandom(2)
    const tile = anyTile(random, 3, 64, 50, false)
    const shifted = { ...tile, shifts: Uint8Array.of(8, 16, 48) }
    for (const [row, es] of [-10, -2, 30].entries()) {
      const expected = Array.from({ length: 50 }, (_, k) => {
        const product =
          BigInt(tile.weights[row * 64 + k]!) * BigInt(tile.multipliers[row * 2 + Math.floor(k / 32)]!)
        return es >= 0 ? round(product, es) : product * 2n ** BigInt(-es)
      })
      expect([...embedRow(shifted, row, 50, 16)].map(BigInt)).toEqual(expected)
    }
  })
})

describe('norm', () => {
  it('sums squares at the widest block and scales', () => {
    fc.assert(
      fc.property(
        seeds,
        fc.integer({ min: 1, max: 1100 }),
        fc.constantFrom(0, 1, 5000, 2 ** 48 - 1),
        (seed, n, epsilon) => {
          const random = seededRandom(seed)
          const x = random.below(8) === 0 ? new Int32Array(n) : wilds(random, n)
          const parts: { s: number; q: bigint }[] = []
          for (let from = 0; from < n; from += 32) {
            const block = [...x.subarray(from, from + 32)].map(v => BigInt(Math.abs(v)))
            const most = BigInt(Math.max(...block.map(Number)))
            const s = Math.max(0, bits(most) - 13)
            parts.push({ s, q: block.reduce((sum, v) => sum + round(v, s) ** 2n, 0n) })
          }
          const smax = Math.max(...parts.map(p => p.s))
          const sum = parts.reduce(
            (w, p) => w + (p.q >> BigInt(2 * (smax - p.s))),
            BigInt(epsilon) >> BigInt(2 * smax),
          )
          const [y, h] = rsqrt(Math.max(1, Number(sum)))
          const made = normParts(x)
          expect([...made.s]).toEqual(parts.map(p => p.s))
          expect([...made.q].map(BigInt)).toEqual(parts.map(p => p.q))
          const scale = normScale(made, epsilon)
          expect(scale).toEqual({ y, k: h + smax })
          expect(scale.k).toBeGreaterThanOrEqual(1)
          expect(scale.k).toBeLessThanOrEqual(42)
          expect(decodeParts(encodeParts(made))).toEqual(made)
          expect(decodeScale(encodeScale(scale))).toEqual(scale)
          const gains = wilds(random, n)
          expect([...normed(x, scale, gains)].map(BigInt)).toEqual(
            [...x].map((v, i) =>
              clamp(round(clamp(round(BigInt(v) * BigInt(y), scale.k)) * BigInt(gains[i]!), 30)),
            ),
          )
        },
      ),
      { numRuns: 150 },
    )
  })

  it('takes a block of the largest values into a u32', () => {
    expect([...normParts(new Int32Array(32).fill(SAT)).q]).toEqual([2 ** 31])
  })
})

describe('activation', () => {
  it('is silu(g)·u with two roundings', () => {
    const format = fc.constantFrom(8, 10, 12, 14, 16, 18)
    fc.assert(
      fc.property(seeds, fc.constantFrom(16, 18), format, (seed, gate, hidden) => {
        const pairs = wilds(seededRandom(seed), 40)
        const exact = Array.from({ length: 20 }, (_, i) => {
          const silu = clamp(round(BigInt(pairs[2 * i]!) * BigInt(sigmoid(pairs[2 * i]!, gate)), 30))
          return clamp(round(silu * BigInt(pairs[2 * i + 1]!), 2 * gate - hidden))
        })
        expect([...activate(pairs, gate, hidden)].map(BigInt)).toEqual(exact)
      }),
    )
  })
})

describe('attention', () => {
  function anyPages(random: Random, size: number) {
    const keys = new Page(size)
    const values = new Page(size)
    const flat = random.below(4) === 0
    for (let j = 0; j < 64; j++) {
      keys.set(j, rowOf(flat ? new Int32Array(size).fill(SAT) : wilds(random, size), 32_640))
      values.set(
        j,
        rowOf(
          random.below(3) === 0
            ? Int32Array.from({ length: size }, () => random.below(9))
            : wilds(random, size),
          32_640,
        ),
      )
    }
    return { keys, values, query: rowOf(flat ? new Int32Array(size).fill(SAT) : wilds(random, size), 2047) }
  }

  function pageReference({ keys, values, query }: ReturnType<typeof anyPages>, count: number, qk: number) {
    const size = query.v.length
    const rows = Array.from({ length: count }, (_, j) => ({ k: keys.row(j), v: values.row(j) }))
    const scores = rows.map(({ k }) => {
      const p = [...query.v].reduce((sum, q, i) => sum + BigInt(q) * BigInt(k.v[i]!), 0n)
      const c = 2 * qk - 16 - query.e - k.e
      return clamp(c >= 1 ? round(p, c) : p * 2n ** BigInt(-c))
    })
    const m = BigInt(Math.max(...scores.map(Number)))
    const e = Math.max(...rows.map(row => row.v.e))
    const weights = scores.map(s => Math.min(2 ** 20 - 1, exp2n(Number(m - s)) >> 10))
    const acc = Array.from({ length: size }, (_, i) =>
      round(
        rows.reduce(
          (sum, row, j) => sum + (BigInt(weights[j]!) >> BigInt(e - row.v.e)) * BigInt(row.v.v[i]!),
          0n,
        ),
        12,
      ),
    )
    return { m: Number(m), e, sum: weights.reduce((a, b) => a + b), acc: Int32Array.from(acc.map(Number)) }
  }

  it('weighs the rows of a page against its greatest score', () => {
    fc.assert(
      fc.property(
        seeds,
        fc.constantFrom(8, 32, 128),
        fc.constantFrom(1, 2, 63, 64),
        fc.constantFrom(12, 14, 18),
        (seed, size, count, qk) => {
          const pages = anyPages(seededRandom(seed), size)
          const node = attendPage(pages.query, pages.keys, pages.values, count, qk)
          expect(node).toEqual(pageReference(pages, count, qk))
          expect(decodeNode(encodeNode(node))).toEqual(node)
          expect(node.sum).toBeLessThan(2 ** 26)
        },
      ),
      { numRuns: 80 },
    )
  })

  it('ignores the rows after the position', () => {
    const pages = anyPages(seededRandom(5), 8)
    const empty = { ...pages, keys: new Page(8), values: new Page(8) }
    for (let j = 0; j < 7; j++) {
      empty.keys.set(j, pages.keys.row(j))
      empty.values.set(j, pages.values.row(j))
    }
    expect(attendPage(pages.query, empty.keys, empty.values, 7, 14)).toEqual(
      attendPage(pages.query, pages.keys, pages.values, 7, 14),
    )
  })

  function anyNode(random: Random, most: { sum: number; acc: number }, near: number): AttentionNode {
    return {
      m: random.below(2) === 0 ? near : near - random.below(2 ** random.below(31)),
      e: random.below(17),
      sum: random.below(3) === 0 ? most.sum : 1 + random.below(most.sum),
      acc: Int32Array.from(
        { length: 8 },
        () => (random.below(3) === 0 ? most.acc : random.below(most.acc)) * (random.below(2) * 2 - 1),
      ),
    }
  }

  /** Nodes of which one has the greatest maximum and a full sum, as real ones do. */
  const nodes = (random: Random, count: number, sum: number, acc: number) =>
    Array.from({ length: count }, (_, i) => ({
      ...anyNode(random, { sum, acc }, 1000),
      ...(i === 0 ? { m: 1000, sum } : {}),
    }))

  function joined(list: readonly AttentionNode[]) {
    const m = Math.max(...list.map(n => n.m))
    const e = Math.max(...list.map(n => n.e))
    const factors = list.map(n => BigInt(exp2n(m - n.m) >> 6))
    return {
      m,
      e,
      sum: list.reduce((s, n, i) => s + BigInt(n.sum) * factors[i]!, 0n),
      acc: Array.from({ length: 8 }, (_, k) =>
        list.reduce((s, n, i) => s + BigInt(n.acc[k]!) * (factors[i]! >> BigInt(e - n.e)), 0n),
      ),
    }
  }

  it('puts pages together as a group', () => {
    fc.assert(
      fc.property(seeds, fc.integer({ min: 1, max: 64 }), (seed, count) => {
        const list = nodes(seededRandom(seed), count, 64 * (2 ** 20 - 1), 535_000_000)
        const { m, e, sum, acc } = joined(list)
        expect(attendGroup(list)).toEqual({
          m,
          e,
          sum: Number(round(sum, 24)),
          acc: Int32Array.from(acc.map(a => Number(round(a, 28)))),
        })
      }),
    )
  })

  it('divides a head by its sum, magnitudes first', () => {
    fc.assert(
      fc.property(seeds, fc.integer({ min: 1, max: 64 }), (seed, count) => {
        const list = nodes(seededRandom(seed), count, 4096 * (2 ** 20 - 1), 2 ** 31 - 9)
        const { e, sum, acc } = joined(list)
        const z = BigInt(bits(sum) - 31)
        const out = acc.map(a => {
          const q = (((a < 0n ? -a : a) >> z) * 2n ** 22n) / (sum >> z)
          const v = e >= 6 ? clamp(q * 2n ** BigInt(e - 6)) : round(q, 6 - e)
          return Number(a < 0n ? -v : v)
        })
        expect([...attendHead(list)].map(v => v + 0)).toEqual(out)
      }),
    )
  })

  it('is the mean of equal rows', () => {
    const size = 8
    const row = Int32Array.from({ length: size }, (_, i) => (i - 4) * 1000)
    const keys = new Page(size)
    const values = new Page(size)
    for (let j = 0; j < 64; j++) values.set(j, rowOf(row, 32_640))
    const page = attendPage(rowOf(row, 2047), keys, values, 64, 14)
    const out = attendHead([attendGroup(Array.from({ length: 64 }, () => page))])
    expect([...out].map((v, i) => Math.abs(v - row[i]!)).every(off => off <= 1)).toBe(true)
    expect(mulrs(out[0]!, 2 ** 30, 30)).toBe(out[0])
  })
})
