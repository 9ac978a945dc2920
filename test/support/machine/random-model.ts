import { encodeCanonical, merkleLeaf, merkleRoot, toBase64Url } from '@apus/shared/hashing'
import {
  type BundleReader,
  bundleLayout,
  decodeManifest,
  GROUP,
  LEAF_VALUES,
  type Manifest,
  piecesInLeaf,
  SEGMENT,
  type Tensor,
  tileOf,
} from '@apus/shared/machine'
import { manifestSchema } from '../../../shared/src/machine/manifest.ts'
import { type Random, seededRandom } from '../random.ts'

/** What a seeded model is made from; `wild` makes it of extreme numbers, so that everything saturates somewhere. */
export interface ModelShape extends Partial<Omit<Manifest, 'machine' | 'name'>> {
  readonly name: string
  readonly wild?: boolean
}

const ONE_PLANE = { qkv: 1, o: 1, gateUp: 1, down: 1, output: 1 } as const
const TWO_PLANES = { qkv: 2, o: 2, gateUp: 2, down: 2, output: 2 } as const

const DEFAULTS = {
  layers: 1,
  width: 32,
  heads: 2,
  kvHeads: 1,
  headSize: 8,
  hidden: 48,
  vocab: 70,
  context: 512,
  tied: true,
  epsilon: 1,
  formats: { residual: 16, qk: 14, value: 16, gate: 16, hidden: 14 },
  planes: ONE_PLANE,
  stop: [],
  tokenizerBytes: 100,
} as const

/** Small models of shapes that are multiples of nothing. */
export const AWKWARD_SHAPES: readonly ModelShape[] = [
  { name: 'tiny', heads: 1 },
  {
    name: 'grouped',
    layers: 3,
    width: 72,
    heads: 6,
    kvHeads: 2,
    headSize: 16,
    hidden: 200,
    vocab: 1091,
    tied: false,
    stop: [3, 17, 1090],
    tokenizerBytes: 20_000,
    planes: { qkv: 2, o: 1, gateUp: 2, down: 1, output: 2 },
    formats: { residual: 14, qk: 16, value: 18, gate: 18, hidden: 12 },
  },
  {
    name: 'two planes',
    layers: 2,
    width: 264,
    heads: 3,
    kvHeads: 3,
    headSize: 128,
    hidden: 300,
    planes: TWO_PLANES,
  },
  {
    name: 'segments',
    width: 40,
    heads: 5,
    headSize: 32,
    hidden: 8200,
    vocab: 333,
    planes: { qkv: 1, o: 2, gateUp: 1, down: 2, output: 1 },
    formats: { residual: 18, qk: 12, value: 12, gate: 16, hidden: 18 },
  },
  { name: 'many heads', layers: 2, width: 96, heads: 34, kvHeads: 17, hidden: 64, vocab: 129 },
  {
    name: 'two leaves',
    width: 1100,
    heads: 4,
    kvHeads: 2,
    headSize: 64,
    hidden: 1030,
    vocab: 2100,
    tied: false,
  },
  { name: 'many tokens', vocab: 9001, hidden: 33, width: 33, planes: TWO_PLANES },
  { name: 'many rows', heads: 128, kvHeads: 2, headSize: 64, vocab: 65 },
  {
    name: 'wild',
    layers: 2,
    width: 100,
    heads: 4,
    kvHeads: 4,
    headSize: 32,
    hidden: 500,
    vocab: 300,
    tied: false,
    epsilon: 2 ** 47,
    stop: [0, 6],
    planes: TWO_PLANES,
    formats: { residual: 12, qk: 18, value: 20, gate: 18, hidden: 8 },
    wild: true,
  },
]

/** A bundle in memory, with leaves exactly as SPEC.md §5 lays them out. */
export class MemoryBundle implements BundleReader {
  readonly root: string
  readonly leaves: readonly Uint8Array[]

  constructor(leaves: readonly Uint8Array[]) {
    this.leaves = leaves
    this.root = toBase64Url(merkleRoot(leaves.map(leaf => merkleLeaf('apus.machine.1/bundle', leaf))))
  }

  get leafCount(): number {
    return this.leaves.length
  }

  leaf(index: number): Uint8Array {
    return this.leaves[index]!
  }
}

export function manifestOf(shape: ModelShape): Manifest {
  const { wild, ...fields } = shape
  return manifestSchema.parse({ ...DEFAULTS, ...fields, machine: 1 })
}

/** The model of a shape and a seed: the same bytes wherever it is made. */
export function randomBundle(shape: ModelShape, seed: number): MemoryBundle {
  const random = seededRandom(seed)
  const manifest = manifestOf(shape)
  const layout = bundleLayout(manifest)
  const wild = shape.wild === true
  const { residual, qk, value, gate, hidden } = manifest.formats
  const leaves = [encodeCanonical(manifest), frequencies(manifest.headSize, random)]
  for (let norm = 0; norm <= 2 * manifest.layers; norm++) leaves.push(...gains(manifest.width, random, wild))
  const tensor = (t: Tensor, input: number, output: (row: number) => number, bias = true) =>
    leaves.push(
      ...tiles(
        t,
        random,
        row => scale(t.columns) + input - output(row),
        bias,
        wild && t.kind !== 'embedding',
      ),
    )
  // The embedding's shift is that of a map from Q18 to Q16 (SPEC.md §3.2), whatever the residual's format.
  if (!manifest.tied) tensor(layout.embedding, 18, () => 16, false)
  tensor(layout.output, 18, () => 16, !manifest.tied)
  const queriesAndKeys = (manifest.heads + manifest.kvHeads) * manifest.headSize
  for (const layer of layout.layers) {
    tensor(layer.qkv, 18, row => (row < queriesAndKeys ? qk : value))
    tensor(layer.o, value, () => residual)
    tensor(layer.gateUp, 18, () => gate)
    tensor(layer.down, hidden, () => residual)
  }
  for (let i = 0; i < layout.tokenizer - layout.pieces; i++)
    leaves.push(pieces(piecesInLeaf(manifest.vocab, i), random, wild))
  for (let left = manifest.tokenizerBytes; left > 0; left -= 16_384)
    leaves.push(bytes(Math.min(left, 16_384), random))
  return new MemoryBundle(leaves)
}

const bytes = (count: number, random: Random): Uint8Array =>
  Uint8Array.from({ length: count }, () => random.below(256))

/** log2 of what a row of mean weights makes of ones. */
const scale = (columns: number): number => Math.round(16 + Math.log2(columns) / 2)

function frequencies(headSize: number, random: Random): Uint8Array {
  const turns = BigUint64Array.from({ length: headSize / 2 }, (_, i) => {
    if (i === 0) return 2n ** 44n - 1n
    return ((BigInt(random.u32()) << 12n) | BigInt(random.below(4096))) >> BigInt(i % 40)
  })
  return new Uint8Array(turns.buffer)
}

function gains(width: number, random: Random, wild: boolean): Uint8Array[] {
  const one = 2 ** 18 * Math.sqrt(width)
  const all = Int32Array.from({ length: width }, () => {
    if (wild && random.below(4) === 0) return (random.below(2) * 2 - 1) * (2 ** 30 - 1)
    return Math.round(one * (random.unit() + 0.5)) * (random.below(8) === 0 ? -1 : 1)
  })
  const leaves: Uint8Array[] = []
  for (let from = 0; from < width; from += LEAF_VALUES) {
    leaves.push(new Uint8Array(all.slice(from, from + LEAF_VALUES).buffer))
  }
  return leaves
}

function tiles(
  t: Tensor,
  random: Random,
  shift: (row: number) => number,
  bias: boolean,
  wild: boolean,
): Uint8Array[] {
  const leaves: Uint8Array[] = []
  const padded = Math.ceil(t.columns / GROUP) * GROUP
  for (let row = 0; row < t.rows; row += t.tileRows) {
    const rows = Math.min(t.tileRows, t.rows - row)
    const shifts = Uint8Array.from({ length: rows }, (_, r) =>
      Math.max(1, shift(row + r) - (wild ? random.below(12) : random.below(3))),
    )
    for (let segment = 0; segment < t.segments; segment++) {
      const from = segment * SEGMENT
      const columns = Math.min(SEGMENT, padded - from)
      const used = Math.min(columns, t.columns - from)
      const weights = new Int8Array(rows * columns)
      for (let r = 0; r < rows; r++) {
        const flat = wild && random.below(3) === 0
        for (let c = 0; c < used; c++) weights[r * columns + c] = flat ? 127 : random.below(255) - 127
      }
      const multipliers = Uint16Array.from({ length: (rows * columns) / GROUP }, () =>
        wild && random.below(3) === 0 ? 2047 : random.below(2048),
      )
      const biases = Int32Array.from({ length: rows }, () => {
        if (segment > 0 || !bias) return 0
        return wild && random.below(4) === 0 ? 2 ** 30 - 1 : random.below(4097) - 2048
      })
      leaves.push(
        new Uint8Array(
          Buffer.concat([
            new Uint8Array(weights.buffer),
            new Uint8Array(multipliers.buffer),
            shifts,
            new Uint8Array(biases.buffer),
          ]),
        ),
      )
    }
  }
  return leaves
}

function pieces(count: number, random: Random, wild: boolean): Uint8Array {
  const all = Array.from({ length: count }, () =>
    Uint8Array.from(
      { length: wild && random.below(9) === 0 ? 256 : random.below(6) },
      () => 97 + random.below(4),
    ),
  )
  const lengths = Uint16Array.from(all, piece => piece.length)
  return new Uint8Array(Buffer.concat([new Uint8Array(lengths.buffer), ...all]))
}

/** Leaves of a bundle of more than one segment: each is in the domain by itself, but a row's segments have different shifts. */
export function otherShiftInSecondSegment(leaves: readonly Uint8Array[]): Uint8Array[] {
  const { down } = bundleLayout(decodeManifest(leaves[0]!)).layers[0]!
  const { leaf, rows, columns } = tileOf(down, 0, 1)
  const shift = rows * (columns + columns / 16)
  return leaves.map((bytes, i) => (i === leaf ? bytes.with(shift, (bytes[shift]! % 56) + 1) : bytes))
}
