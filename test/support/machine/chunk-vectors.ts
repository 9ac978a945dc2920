import { SAT } from '@apus/shared/machine'
import { readInput } from '../../../shared/src/machine/inputs.ts'
import { encodeA8, quantize } from '../../../shared/src/machine/quantizer.ts'
import { recompute } from '../../../shared/src/machine/recompute.ts'
import { encodeRow, Page, rowOf } from '../../../shared/src/machine/rows.ts'
import { noiseKey } from '../../../shared/src/machine/sampler.ts'
import type { Step } from '../../../shared/src/machine/steps.ts'
import { samplerSettings } from '../../../shared/src/protocol/sampler.ts'
import { type Random, seededRandom } from '../random.ts'
import { anyStored } from './golden.ts'
import { AWKWARD_SHAPES, randomBundle } from './random-model.ts'
import { tracedRun } from './traced-run.ts'

/** A chunk with the inputs that the plan names, in its order, and the bytes that it must give. */
export interface ChunkVector {
  readonly step: Step
  readonly inputs: readonly Uint8Array[]
  readonly output: Uint8Array
}

const PER_KIND = 5
/** Bytes of the inputs of most vectors, and of the one large vector that a kind may have. */
const SMALL = 3000
const LARGE = 40_000
const KINDS_WITH_LARGE: ReadonlySet<Step['kind']> = new Set(['linear', 'page'])

/** In JSON, bytes are base64. */
export const chunkJson = ({ step, inputs, output }: ChunkVector) => ({
  step: step.kind === 'stop' ? { ...step, strings: step.strings.map(base64) } : step,
  inputs: inputs.map(base64),
  output: base64(output),
})

const base64 = (bytes: Uint8Array): string => Buffer.from(bytes).toString('base64')

/** Chunks of every kind of step: some of real runs, some of the largest numbers that there are. */
export async function chunkVectors(): Promise<ChunkVector[]> {
  const chosen = new Map<Step['kind'], ChunkVector[]>()
  for (const vectors of await runChunks()) {
    for (const [kind, list] of Map.groupBy(vectors, vector => vector.step.kind)) {
      const known = chosen.get(kind) ?? []
      const small = list.filter(vector => size(vector) <= SMALL)
      known.push(...spaced(small, 2).slice(0, PER_KIND - known.length))
      const large = list.find(vector => size(vector) > LARGE / 2 && size(vector) <= LARGE)
      if (large && KINDS_WITH_LARGE.has(kind) && known.every(vector => size(vector) <= SMALL))
        known.push(large)
      chosen.set(kind, known)
    }
  }
  return [...[...chosen.values()].flat(), ...extremes()]
}

const size = ({ inputs }: ChunkVector): number => inputs.reduce((sum, input) => sum + input.length, 0)

const spaced = <T>(list: readonly T[], count: number): T[] =>
  list
    .filter((_, i) => i % Math.ceil(list.length / count) === Math.floor(list.length / count / 2))
    .slice(0, count)

/** Some chunks of every operation of two positions, by model. */
async function runChunks(): Promise<ChunkVector[][]> {
  const sampler = samplerSettings.parse({
    temperature: 50_000,
    topK: 7,
    topP: 55_000,
    repeatPenalty: 90_000,
    frequencyPenalty: 700,
  })
  const all: ChunkVector[][] = []
  for (const [i, shape] of AWKWARD_SHAPES.entries()) {
    if (shape.name.startsWith('many') || shape.name === 'two leaves') continue
    const length = shape.name === 'tiny' ? 66 : 2
    const request = {
      prompt: Array.from({ length }, (_, k) => (k * 5) % (shape.vocab ?? 70)),
      sampler,
      noise: noiseKey(Buffer.from('chunks')),
      maxTokens: 3,
      stop: ['ab', 'ccc'].map(text => new Uint8Array(Buffer.from(text))),
    }
    const { positions, source } = await tracedRun(randomBundle(shape, 70 + i), request, [length - 1, length])
    const vectors: ChunkVector[] = []
    for (const [position, { operations }] of positions) {
      for (const { operation, leaves } of [...operations.values()].flat()) {
        for (const c of new Set([0, operation.chunks >> 1, operation.chunks - 1])) {
          const { step, inputs, leaf, from, length } = operation.chunk(c)
          if (!step) continue
          const bytes = inputs.map(input => readInput(input, source(position)))
          vectors.push({ step, inputs: bytes, output: leaves[leaf]!.slice(from, from + length) })
        }
      }
    }
    all.push(vectors)
  }
  return all
}

const made = (step: Step, inputs: readonly Uint8Array[]): ChunkVector => ({
  step,
  inputs,
  output: recompute(step, inputs),
})
const i32 = (values: readonly number[]): Uint8Array => new Uint8Array(Int32Array.from(values).buffer)

/** Chunks whose inputs are at the edges of their domains. */
function extremes(): ChunkVector[] {
  const random = seededRandom(11)
  const stored = (n: number) => i32(Array.from({ length: n }, () => anyStored(random)))
  const most = (n: number, sign = 1) => i32(Array.from({ length: n }, () => sign * SAT))
  const zero = new Uint8Array(200)
  const scale = recompute({ kind: 'norm.scale', epsilon: 0 }, [recompute({ kind: 'norm.part' }, [most(64)])])
  const vectors: ChunkVector[] = [
    made({ kind: 'norm.part' }, [most(70)]),
    made({ kind: 'norm.part' }, [stored(300)]),
    made({ kind: 'norm.part' }, [zero]),
    made({ kind: 'norm.scale', epsilon: 2 ** 48 - 1 }, [recompute({ kind: 'norm.part' }, [zero])]),
    made({ kind: 'norm.scale', epsilon: 0 }, [recompute({ kind: 'norm.part' }, [zero])]),
    made({ kind: 'norm.scale', epsilon: 2 ** 48 - 1 }, [recompute({ kind: 'norm.part' }, [stored(500)])]),
    made({ kind: 'norm.quant', planes: 2 }, [stored(64), scale, stored(64)]),
    made({ kind: 'norm.quant', planes: 1 }, [most(64), scale, most(64, -1)]),
    made({ kind: 'quant', planes: 2 }, [stored(300)]),
    made({ kind: 'quant', planes: 2 }, [most(300, -1)]),
    made({ kind: 'sum' }, [most(40), most(40), most(40, -1)]),
    made({ kind: 'sum' }, [stored(40), stored(40), stored(40), stored(40), stored(40)]),
    made(
      {
        kind: 'scores',
        first: 1024,
        sampler: samplerSettings.parse({
          temperature: 655,
          repeatPenalty: 262_144,
          presencePenalty: -131_072,
          frequencyPenalty: 131_072,
        }),
      },
      [stored(30), new Uint8Array(Uint32Array.of(1024, 1030, 1030, 3, 1053, 1053).buffer)],
    ),
    made({ kind: 'max.tile', first: 2048 }, [most(9)]),
    made({ kind: 'topp.mass', first: 0 }, [
      most(1024),
      recompute({ kind: 'max.tile', first: 0 }, [most(1024)]),
    ]),
    made({ kind: 'pick.tile', first: 2 ** 18 - 300, noise: [2 ** 32 - 1, 2 ** 31], position: 2 ** 18 }, [
      stored(300),
    ]),
    made({ kind: 'pick.tile', first: 5, noise: [0, 0], position: 1 }, [stored(30), i32([SAT, 0])]),
  ]
  for (const gate of [16, 18])
    vectors.push(made({ kind: 'act', gate, hidden: 8 + gate / 2, planes: 2 }, [stored(100)]))
  for (const limit of [2047, 32_640]) {
    const frequencies = new Uint8Array(
      BigUint64Array.of(2n ** 44n - 1n, 1n, 2n ** 43n, 0x5555_5555_555n).buffer,
    )
    vectors.push(
      made({ kind: 'row', headSize: 8, at: 8, position: 2 ** 18 - 1, turned: true, limit }, [
        stored(16),
        frequencies,
      ]),
      made({ kind: 'row', headSize: 8, at: 0, position: 3, turned: false, limit }, [most(8, -1)]),
    )
  }
  for (const planes of [1, 2] as const) {
    for (const shift of [1, 30, 56]) vectors.push(linear(random, planes, shift))
  }
  return [...vectors, ...attention(random)]
}

/** Rows of the largest weights and multipliers against the largest input. */
function linear(random: Random, planes: 1 | 2, shift: number): ChunkVector {
  const [rows, columns, values] = [3, 288, 270]
  const input = Array.from({ length: values }, (_, i) => (i % 2 === 0 ? SAT : anyStored(random)))
  const weights = Int8Array.from({ length: rows * columns }, (_, i) =>
    i % columns >= values ? 0 : i < columns ? 127 : i % 2 === 0 ? -127 : random.below(255) - 127,
  )
  const tile = Buffer.concat([
    new Uint8Array(weights.buffer),
    new Uint8Array(new Uint16Array((rows * columns) / 32).fill(2047).buffer),
    new Uint8Array(rows).fill(shift),
    i32([SAT, -SAT, 0]),
  ])
  const a8 = Buffer.concat(encodeA8(quantize(input, planes)))
  const step: Step = { kind: 'linear', rows, columns, values, planes, residual: 2 }
  return made(step, [new Uint8Array(a8), new Uint8Array(tile), i32([0, 0, SAT, -SAT, 1000])])
}

/** Pages of the largest rows, of rows of all sizes, and what is made of them. */
function attention(random: Random): ChunkVector[] {
  const headSize = 8
  const vectors: ChunkVector[] = []
  for (const qk of [12, 14, 16, 18]) {
    for (const flat of [true, false]) {
      const row = (): Int32Array =>
        Int32Array.from({ length: headSize }, () => (flat ? SAT : anyStored(random)))
      const [keys, values] = [new Page(headSize), new Page(headSize)]
      for (let j = 0; j < 64; j++) {
        keys.set(j, rowOf(row(), 32_640))
        values.set(j, rowOf(row(), 32_640))
      }
      const inputs = [encodeRow(rowOf(row(), 2047)), keys.encode(), values.encode()]
      vectors.push(made({ kind: 'page', headSize, count: flat ? 64 : 1 + random.below(64), qk }, inputs))
    }
  }
  const pages = new Uint8Array(Buffer.concat(vectors.map(vector => vector.output)))
  const full = new Uint8Array(Buffer.concat(Array.from({ length: 64 }, () => vectors[0]!.output)))
  const groups = [pages, full].map(nodes => made({ kind: 'group', headSize }, [nodes]))
  const heads = groups.map(group => made({ kind: 'out', headSize }, [group.output]))
  const together = made({ kind: 'out', headSize }, [
    new Uint8Array(Buffer.concat(groups.map(group => group.output))),
  ])
  return [...vectors, ...groups, ...heads, together]
}
