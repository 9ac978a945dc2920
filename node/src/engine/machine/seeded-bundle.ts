import { encodeCanonical } from '@apus/shared/hashing'
import {
  type BundleLayout,
  type BundleReader,
  bundleLayout,
  GROUP,
  LEAF_VALUES,
  type Manifest,
  piecesInLeaf,
  SEGMENT,
  type Tensor,
  tileOf,
} from '@apus/shared/machine'

/** Fraction bits of norm outputs, of logits, and of an embedding's shift beyond the residual's. */
const NORM_BITS = 18
const LOGIT_BITS = 16
const EMBEDDING_BITS = 2
/** Multipliers are in the upper half of their range, so that a weight's size is known within a factor of two. */
const MULTIPLIER_FLOOR = 1024
/** log2 of the root mean square of weight times multiplier. */
const PRODUCT_BITS = 16.8
const MAX_BIAS_BITS = 12
/** Turns per position of the first pair, in 2^-44: one radian. */
const FIRST_FREQUENCY = 2_799_882_880_219n

/**
 * A model whose every leaf follows from a seed, made when it is asked for: the same on every machine, of any size, and
 * with activations that stay in range. What it says means nothing.
 */
export class SeededBundle implements BundleReader {
  readonly root: string
  readonly leafCount: number
  readonly manifest: Manifest
  readonly #layout: BundleLayout
  readonly #tensors: readonly Tensor[]
  readonly #seed: number

  constructor(manifest: Manifest, seed: number) {
    this.root = `seeded-${seed}`
    this.manifest = manifest
    this.#seed = seed
    this.#layout = bundleLayout(manifest)
    this.leafCount = this.#layout.leafCount
    const { embedding, output, layers } = this.#layout
    this.#tensors = [
      ...(manifest.tied ? [] : [embedding]),
      output,
      ...layers.flatMap(({ qkv, o, gateUp, down }) => [qkv, o, gateUp, down]),
    ]
  }

  *leaves(): Generator<readonly [index: number, leaf: Uint8Array]> {
    for (let i = 0; i < this.leafCount; i++) yield [i, this.leaf(i)]
  }

  leaf(index: number): Uint8Array {
    const { frequencies, pieces } = this.#layout
    if (index === 0) return encodeCanonical(this.manifest)
    if (index === frequencies) return this.#frequencies()
    const tensor = this.#tensors.findLast(({ first }) => first <= index)
    if (tensor === undefined) return this.#gains(index)
    return index < pieces ? this.#tile(tensor, index) : this.#pieces(index - pieces)
  }

  #frequencies(): Uint8Array {
    let f = FIRST_FREQUENCY
    const values = BigUint64Array.from({ length: this.manifest.headSize / 2 }, () => {
      const own = f
      f = (f * 3n) / 4n
      return own
    })
    return new Uint8Array(values.buffer)
  }

  #gains(index: number): Uint8Array {
    const { width } = this.manifest
    const part = (index - this.#layout.gains(0)) % this.#layout.gainLeaves
    const count = Math.min(LEAF_VALUES, width - part * LEAF_VALUES)
    const one = Math.round(Math.sqrt(width) * 2 ** NORM_BITS)
    const key = noise(this.#seed, index)
    return new Uint8Array(
      Int32Array.from({ length: count }, (_, i) =>
        Math.floor((one * (0x8000 + (noise(key, i) >>> 16))) / 0x10000),
      ).buffer,
    )
  }

  #tile(tensor: Tensor, index: number): Uint8Array {
    const block = Math.floor((index - tensor.first) / tensor.segments)
    const segment = (index - tensor.first) % tensor.segments
    const { rows, columns } = tileOf(tensor, block * tensor.tileRows, segment)
    const count = rows * columns
    const groups = count / GROUP
    const leaf = new Uint8Array(count + 2 * groups + 5 * rows)
    const key = noise(this.#seed, index)
    const words = new Int32Array(leaf.buffer, 0, count / 4)
    for (let i = 0; i < words.length; i++) words[i] = withoutLeast(noise(key, i))
    const used = tensor.columns - segment * SEGMENT
    for (let r = 0; used < columns && r < rows; r++) leaf.fill(0, r * columns + used, (r + 1) * columns)
    const multipliers = new Uint16Array(leaf.buffer, count, groups)
    for (let i = 0; i < groups; i++) {
      multipliers[i] = MULTIPLIER_FLOOR + (noise(key + 1, i) & (MULTIPLIER_FLOOR - 1))
    }
    const shiftsAt = count + 2 * groups
    leaf.fill(this.#shift(tensor), shiftsAt, shiftsAt + rows)
    const view = new DataView(leaf.buffer)
    for (let r = 0; r < rows && segment === 0 && !this.#embeds(tensor); r++) {
      const bias = (noise(key + 2, r) & (2 ** MAX_BIAS_BITS - 1)) - 2 ** (MAX_BIAS_BITS - 1)
      view.setInt32(shiftsAt + rows + 4 * r, bias, true)
    }
    return leaf
  }

  /** Outputs come out as large as inputs. */
  #shift({ kind, columns }: Tensor): number {
    const { residual, qk, value, gate, hidden } = this.manifest.formats
    const scale = Math.round(PRODUCT_BITS + Math.log2(columns) / 2)
    const [input, output] = {
      embedding: [residual + EMBEDDING_BITS, residual],
      output: [NORM_BITS, LOGIT_BITS],
      qkv: [NORM_BITS, qk],
      o: [value, residual],
      gateUp: [NORM_BITS, gate],
      down: [hidden, residual],
    }[kind] as [number, number]
    return scale + input - output
  }

  #embeds({ kind }: Tensor): boolean {
    return kind === 'embedding' || (kind === 'output' && this.manifest.tied)
  }

  #pieces(part: number): Uint8Array {
    const count = piecesInLeaf(this.manifest.vocab, part)
    const texts = Array.from({ length: count }, (_, i) => Buffer.from(`${part * 64 + i} `))
    const lengths = Uint16Array.from(texts, text => text.length)
    return Uint8Array.from(Buffer.concat([new Uint8Array(lengths.buffer), ...texts]))
  }
}

/** The 32 bits that stand at `index` of stream `key`. */
export function noise(key: number, index: number): number {
  let h = (Math.imul(index, 0x9e37_79b9) + key) | 0
  h = Math.imul(h ^ (h >>> 16), 0x85eb_ca6b)
  h = Math.imul(h ^ (h >>> 13), 0xc2b2_ae35)
  return (h ^ (h >>> 16)) >>> 0
}

/** Bytes of -128 lose their top bit: no weight may be that. */
const withoutLeast = (word: number): number => {
  const low = word & 0x7f7f_7f7f
  const nonZero = ((low + 0x7f7f_7f7f) | 0) & 0x8080_8080
  return word & (nonZero | 0x7f7f_7f7f)
}
