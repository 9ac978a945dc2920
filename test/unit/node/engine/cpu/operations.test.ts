import { expect, test } from 'vitest'
import { activate } from '../../../../../shared/src/machine/activation.ts'
import { attendGroup, attendHead, attendPage } from '../../../../../shared/src/machine/attention.ts'
import { normed, normParts, normScale } from '../../../../../shared/src/machine/norm.ts'
import { type A8, encodeA8, type PlaneCount, quantize } from '../../../../../shared/src/machine/quantizer.ts'
import { CACHE_LIMIT, Page, QUERY_LIMIT, rotate, rowOf } from '../../../../../shared/src/machine/rows.ts'
import { seededRandom } from '../../../../support/random.ts'
import { values, Workbench } from './workbench.ts'

/** Reads back what `quantise` laid out for the linear kernel. */
function readA8(bench: Workbench, at: number, n: number, planes: PlaneCount): A8 {
  const plane = (p: number): Int8Array => {
    const from = at + p * bench.kernels.planeBytes(n)
    return Int8Array.from({ length: n }, (_, i) => {
      const byte = from + 32 * (i >> 4) + (i & 15)
      const magnitude = bench.u8[byte]!
      return bench.u8[byte + 16] === 0 ? magnitude : -magnitude
    })
  }
  const blocks = Math.ceil(n / 256)
  const scales = at + Math.ceil(n / 32) * 64 + blocks * 16
  const d = bench.u32.slice(scales / 4, scales / 4 + blocks)
  return { q: plane(0), d, q2: planes === 2 ? plane(1) : undefined }
}

const sameA8 = (a: A8, b: A8): void => expect(encodeA8(a)).toEqual(encodeA8(b))

test('a norm and its quantised vector', () => {
  const random = seededRandom(5)
  for (let round = 0; round < 300; round++) {
    const bench = new Workbench()
    const n = random.pick([8, 31, 33, 64, 192, 255, 257, 1000, 2048])
    const planes = (1 + random.below(2)) as PlaneCount
    const x = round === 0 ? new Int32Array(n) : values(random, n)
    const gains = values(random, n)
    const epsilon = Math.floor(random.unit() * 2 ** random.below(49))
    const out = bench.room(bench.kernels.planeBytes(n) * planes)
    const scratch = bench.room((n + 256) * 4 + Math.ceil(n / 32) * 8)
    bench.kernels.norm(bench.put(x), bench.put(gains), n, BigInt(epsilon), planes, out, scratch)
    sameA8(
      readA8(bench, out, n, planes),
      quantize(normed(x, normScale(normParts(x), epsilon), gains), planes),
    )
  }
})

test('activated rows and their quantised vector, block by block', () => {
  const random = seededRandom(6)
  for (let round = 0; round < 200; round++) {
    const bench = new Workbench()
    const n = random.pick([8, 31, 172, 256, 300, 1000])
    const planes = (1 + random.below(2)) as PlaneCount
    const gate = random.pick([16, 18])
    const hidden = random.pick([8, 10, 12, 14, 16, 18])
    const rows = values(random, 2 * n)
    const out = bench.room(bench.kernels.planeBytes(n) * planes)
    const scratch = bench.room((n + 256) * 4)
    const at = bench.put(rows)
    for (let b = Math.ceil(n / 256) - 1; b >= 0; b--) {
      bench.kernels.activate(at, n, gate, hidden, planes, out, scratch, b, b + 1)
    }
    sameA8(readA8(bench, out, n, planes), quantize(activate(rows, gate, hidden), planes))
  }
})

test('rotated heads, query rows and page rows', () => {
  const random = seededRandom(7)
  for (let round = 0; round < 200; round++) {
    const bench = new Workbench()
    const size = random.pick([8, 16, 32, 64, 128])
    const heads = 1 + random.below(3)
    const position = random.below(2 ** random.below(19))
    const frequencies = BigUint64Array.from({ length: size / 2 }, () =>
      BigInt(Math.floor(random.unit() * 2 ** random.below(45))),
    )
    const input = values(random, heads * size)
    const head = (all: Int32Array, h: number) => all.slice(h * size, (h + 1) * size)
    const at = bench.put(input)
    const table = bench.room(size * 8)
    bench.u64.set(frequencies, table / 8)
    const angles = bench.room(size * 4)
    bench.kernels.angles(table, size / 2, position, angles)

    const page = bench.room(heads * 64 * (1 + 2 * size))
    const row = random.below(64)
    const stride = 64 * (1 + 2 * size)
    bench.kernels.pageRows(at, heads, size, page, stride, row)
    for (let h = 0; h < heads; h++) {
      const { e, v } = rowOf(head(input, h), CACHE_LIMIT)
      const from = (page + h * stride + 64 + row * 2 * size) / 2
      expect(bench.u8[page + h * stride + row]).toBe(e)
      expect(bench.i16.slice(from, from + size)).toEqual(v)
    }

    bench.kernels.rotate(at, heads, size, angles)
    const rotated = Array.from({ length: heads }, (_, h) => rotate(head(input, h), frequencies, position))
    const queries = bench.room(heads * size * 2)
    const exponents = bench.room(heads * 4)
    bench.kernels.queryRows(at, heads, size, queries, exponents)
    for (let h = 0; h < heads; h++) {
      expect(head(bench.read(at, heads * size), h)).toEqual(rotated[h])
      const { e, v } = rowOf(rotated[h]!, QUERY_LIMIT)
      expect(bench.i32[exponents / 4 + h]).toBe(e)
      expect(bench.i16.slice(queries / 2 + h * size, queries / 2 + (h + 1) * size)).toEqual(v)
    }
  }
})

test('attention over part of a page, whole pages and several groups', () => {
  const random = seededRandom(8)
  const lengths = [1, 2, 63, 64, 65, 127, 129, 1000, 4096, 4097, 9000]
  for (let round = 0; round < 33; round++) {
    const bench = new Workbench()
    const length = lengths[round % lengths.length]!
    const size = random.pick(length > 1000 ? [8, 16] : [8, 16, 32, 64, 128])
    const heads = 1 + random.below(3)
    const qk = random.pick([12, 14, 16, 18])
    const pages = Math.ceil(length / 64)
    const bytes = 64 * (1 + 2 * size)
    const row = (limit: number) =>
      rowOf(
        values(random, size).map(v => (random.below(2) === 0 ? v : v >> 12)),
        limit,
      )
    const cache = Array.from({ length: pages }, (_, p) => {
      const [keys, vs] = [new Page(size), new Page(size)]
      for (let j = 0; j < Math.min(64, length - p * 64); j++) {
        keys.set(j, row(CACHE_LIMIT))
        vs.set(j, row(CACHE_LIMIT))
      }
      return { keys, values: vs }
    })
    const table = bench.room(pages * 4)
    const offset = 128
    for (const [p, { keys, values: vs }] of cache.entries()) {
      const slot = bench.room(offset + 2 * bytes)
      bench.u32[table / 4 + p] = slot
      bench.u8.set(keys.encode(), slot + offset)
      bench.u8.set(vs.encode(), slot + offset + bytes)
      // What lies behind the last written row must not matter.
      const rest = Math.max(0, (p + 1) * 64 - length)
      bench.u8.fill(0x7f, slot + offset + 2 * bytes - rest * 2 * size, slot + offset + 2 * bytes)
    }
    const queries = Array.from({ length: heads }, () => row(QUERY_LIMIT))
    const q = bench.room(heads * size * 2)
    const exponents = bench.room(heads * 4)
    for (const [h, { e, v }] of queries.entries()) {
      bench.i16.set(v, q / 2 + h * size)
      bench.i32[exponents / 4 + h] = e
    }
    const out = bench.room(heads * size * 4)
    const scratch = bench.room(bench.kernels.attentionScratch(heads, size, length))
    bench.kernels.attention(q, exponents, heads, size, length - 1, qk, table, offset, out, scratch)
    const expected = queries.map(query => {
      const nodes = cache.map((page, p) =>
        attendPage(query, page.keys, page.values, Math.min(64, length - p * 64), qk),
      )
      const groups = []
      for (let g = 0; g < nodes.length; g += 64) groups.push(attendGroup(nodes.slice(g, g + 64)))
      return attendHead(groups)
    })
    for (const [h, want] of expected.entries()) {
      expect(bench.read(out + h * size * 4, size)).toEqual(want)
    }
  }
})
