import { decodeTile, tileRows } from '@apus/shared/machine'
import { describe, expect, test } from 'vitest'
import { TILE_BYTES } from '../../../../../node/src/engine/cpu/sizes.ts'
import { embedRow, linearRow, sumParts } from '../../../../../shared/src/machine/linear.ts'
import { sat } from '../../../../../shared/src/machine/numbers.ts'
import { type PlaneCount, quantize } from '../../../../../shared/src/machine/quantizer.ts'
import { type Random, seededRandom } from '../../../../support/random.ts'
import { values, Workbench } from './workbench.ts'

const SEGMENT = 8192
const SAT = 2 ** 30 - 1

/** A tensor's tiles by row block and segment, as a bundle has them. */
function randomTiles(random: Random, rows: number, n: number, perBlock: number, extreme: boolean) {
  const columns = Math.ceil(n / 32) * 32
  const blocks: { leaf: Uint8Array; here: number; wide: number }[][] = []
  const weight = () => (extreme ? (random.below(10) > 0 ? 127 : -127) : random.below(255) - 127)
  for (let from = 0; from < rows; from += perBlock) {
    const here = Math.min(perBlock, rows - from)
    const shifts = Uint8Array.from({ length: here }, () => 1 + random.below(56))
    const segments = []
    for (let c = 0; c < columns; c += SEGMENT) {
      const wide = Math.min(SEGMENT, columns - c)
      const w = Int8Array.from({ length: here * wide }, (_, i) => (c + (i % wide) < n ? weight() : 0))
      const m = Uint16Array.from({ length: (here * wide) / 32 }, () => (extreme ? 2047 : random.below(2048)))
      const bias = Int32Array.from({ length: here }, () => (c === 0 ? random.below(2 * SAT + 1) - SAT : 0))
      const parts = [w, m, shifts, bias].map(a => new Uint8Array(a.buffer))
      segments.push({ leaf: new Uint8Array(Buffer.concat(parts)), here, wide })
    }
    blocks.push(segments)
  }
  return blocks
}

type Tiles = ReturnType<typeof randomTiles>

/** Packs tiles into a fresh tensor, from the last to the first within a segment. */
function pack(bench: Workbench, blocks: Tiles, rows: number, n: number): number {
  const columns = Math.ceil(n / 32) * 32
  const tensor = bench.room(Math.ceil(rows / 8) * bench.kernels.blockBytes(columns))
  const stage = bench.room(TILE_BYTES)
  for (const segment of blocks[0]!.keys()) {
    for (const [b, segments] of [...blocks.entries()].reverse()) {
      const { leaf, here } = segments[segment]!
      bench.u8.set(leaf, stage)
      bench.kernels.packTile(stage, here, segment, b * tileRows(n), tensor, columns)
    }
  }
  return tensor
}

function check(
  random: Random,
  rows: number,
  n: number,
  planes: PlaneCount,
  vectors: number,
  extreme: boolean,
) {
  const bench = new Workbench()
  const { kernels } = bench
  const perBlock = tileRows(n)
  const blocks = randomTiles(random, rows, n, perBlock, extreme)
  const tensor = pack(bench, blocks, rows, n)
  const stride = Math.ceil((kernels.planeBytes(n) * planes) / 64) * 64
  const a8 = bench.room(stride * vectors)
  const inputs = Array.from({ length: vectors }, () =>
    extreme ? Int32Array.from({ length: n }, () => (random.below(20) > 0 ? SAT : -SAT)) : values(random, n),
  )
  for (const [v, input] of inputs.entries()) {
    kernels.quantise(bench.put(input), n, planes, a8 + v * stride, 0, Math.ceil(n / 256))
  }
  const add = random.below(2) as 0 | 1
  const before = values(random, rows * vectors)
  const out = bench.put(before)
  const scratch = bench.room(64 * vectors * (planes + 1) + 16)
  const packed = Math.ceil(rows / 8)
  const middle = random.below(packed + 1)
  for (const [from, to] of [
    [middle, packed],
    [0, middle],
  ] as const) {
    kernels.linear(tensor, rows, n, planes, a8, stride, vectors, out, rows * 4, add, from, to, scratch)
  }
  const expected = inputs.flatMap((input, v) => {
    const q = quantize(input, planes)
    return blocks.flatMap((segments, b) =>
      Array.from({ length: segments[0]!.here }, (_, r) => {
        const parts = segments.map(({ leaf, here, wide }, s) =>
          linearRow(decodeTile(leaf, here, wide), r, q, s),
        )
        const y = sumParts(parts)
        return add === 1 ? sat(y + before[v * rows + b * perBlock + r]!) : y
      }),
    )
  })
  expect(bench.read(out, rows * vectors)).toEqual(Int32Array.from(expected))
}

describe('linear gives the bytes of the oracle', () => {
  test('for awkward shapes, planes and numbers of vectors', () => {
    const random = seededRandom(2)
    const widths = [8, 31, 32, 33, 192, 255, 256, 257, 1000, 2048]
    for (let round = 0; round < 80; round++) {
      const planes = (1 + random.below(2)) as PlaneCount
      check(random, 1 + random.below(140), random.pick(widths), planes, 1 + random.below(9), round % 4 === 0)
    }
  })

  test('for rows of several segments', () => {
    const random = seededRandom(3)
    for (const n of [8192, 8200, 16_384, 20_001, 32_768]) {
      check(random, 3, n, 2, 5, false)
      check(random, 2, n, 1, 1, true)
    }
  })

  test('for an embedding', () => {
    const random = seededRandom(4)
    for (const n of [8, 100, 192, 1024]) {
      const bench = new Workbench()
      const { kernels } = bench
      const columns = Math.ceil(n / 32) * 32
      const perBlock = tileRows(n)
      const rows = perBlock + 3
      const blocks = randomTiles(random, rows, n, perBlock, false)
      for (const residual of [12, 14, 16, 18]) {
        for (const segments of blocks) {
          const { leaf, here } = segments[0]!
          // Shifts that an embedding may have.
          for (let r = 0; r < here; r++) {
            leaf[leaf.length - here * 5 + r] = Math.max(1, residual - 10) + random.below(43)
          }
        }
        const tensor = pack(bench, blocks, rows, n)
        const out = bench.room(n * 4)
        for (const token of [0, 1, perBlock - 1, perBlock, rows - 1]) {
          const { leaf, here } = blocks[Math.floor(token / perBlock)]![0]!
          kernels.embed(tensor, n, residual, token, out)
          const tile = decodeTile(leaf, here, columns)
          expect(bench.read(out, n)).toEqual(embedRow(tile, token % perBlock, n, residual))
        }
      }
    }
  })
})
