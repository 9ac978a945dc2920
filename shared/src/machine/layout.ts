import { ApusError } from '../kit/errors.ts'
import { tileRows } from './linear.ts'
import type { Manifest } from './manifest.ts'
import type { PlaneCount } from './quantizer.ts'
import { GROUP, LEAF_VALUES, PIECES_PER_LEAF, SEGMENT, TOKENIZER_LEAF } from './sizes.ts'

export type TensorKind = 'embedding' | 'output' | 'qkv' | 'o' | 'gateUp' | 'down'

/** Where a matrix lies in a bundle. */
export interface Tensor {
  readonly kind: TensorKind
  /** Index of its first leaf. */
  readonly first: number
  readonly rows: number
  /** Columns before padding: the length of its input. */
  readonly columns: number
  readonly tileRows: number
  readonly segments: number
  readonly planes: PlaneCount
}

export interface TileAddress {
  readonly leaf: number
  /** First row of the tile. */
  readonly row: number
  readonly rows: number
  readonly columns: number
  readonly segment: number
}

export interface BundleLayout {
  readonly frequencies: number
  /** First gain leaf of norm n: 2·layer, 2·layer + 1, and 2·layers for the final one. */
  gains(norm: number): number
  readonly gainLeaves: number
  readonly embedding: Tensor
  readonly output: Tensor
  readonly layers: readonly Readonly<Record<'qkv' | 'o' | 'gateUp' | 'down', Tensor>>[]
  /** All matrices in the order of the bundle. */
  readonly tensors: readonly Tensor[]
  readonly pieces: number
  readonly tokenizer: number
  readonly leafCount: number
}

/** The order of a bundle's leaves, which follows from its manifest (SPEC.md §5). */
export function bundleLayout(m: Manifest): BundleLayout {
  const frequencies = 1
  const gainLeaves = Math.ceil(m.width / LEAF_VALUES)
  const firstGain = 2
  const tensors: Tensor[] = []
  let next = firstGain + gainLeaves * (2 * m.layers + 1)
  const tensor = (kind: TensorKind, rows: number, columns: number, planes: PlaneCount): Tensor => {
    const perTile = tileRows(columns)
    const segments = Math.ceil(columns / SEGMENT)
    const first = next
    next += Math.ceil(rows / perTile) * segments
    const made = { kind, first, rows, columns, tileRows: perTile, segments, planes }
    tensors.push(made)
    return made
  }
  const embedding = m.tied ? undefined : tensor('embedding', m.vocab, m.width, m.planes.output)
  const output = tensor('output', m.vocab, m.width, m.planes.output)
  const attention = m.heads * m.headSize
  const layers = Array.from({ length: m.layers }, () => ({
    qkv: tensor('qkv', (m.heads + 2 * m.kvHeads) * m.headSize, m.width, m.planes.qkv),
    o: tensor('o', m.width, attention, m.planes.o),
    gateUp: tensor('gateUp', 2 * m.hidden, m.width, m.planes.gateUp),
    down: tensor('down', m.width, m.hidden, m.planes.down),
  }))
  const pieces = next
  const tokenizer = pieces + Math.ceil(m.vocab / PIECES_PER_LEAF)
  return {
    frequencies,
    gains: norm => firstGain + norm * gainLeaves,
    gainLeaves,
    embedding: embedding ?? output,
    output,
    layers,
    tensors,
    pieces,
    tokenizer,
    leafCount: tokenizer + Math.ceil(m.tokenizerBytes / TOKENIZER_LEAF),
  }
}

/** The tile that holds a row's segment. */
export function tileOf(tensor: Tensor, row: number, segment = 0): TileAddress {
  const block = Math.floor(row / tensor.tileRows)
  const padded = Math.ceil(tensor.columns / GROUP) * GROUP
  const first = block * tensor.tileRows
  return {
    leaf: tensor.first + block * tensor.segments + segment,
    row: first,
    rows: Math.min(tensor.tileRows, tensor.rows - first),
    columns: Math.min(SEGMENT, padded - segment * SEGMENT),
    segment,
  }
}

/** A tile and the matrix that it belongs to. */
export interface TilePlace extends TileAddress {
  readonly tensor: Tensor
}

/** The tile that a leaf is, or undefined for a leaf of another kind. */
export function tileAt(layout: BundleLayout, leaf: number): TilePlace | undefined {
  if (leaf >= layout.pieces) return undefined
  const tensor = layout.tensors.findLast(({ first }) => first <= leaf)
  if (!tensor) return undefined
  const tile = leaf - tensor.first
  const row = Math.floor(tile / tensor.segments) * tensor.tileRows
  return { tensor, ...tileOf(tensor, row, tile % tensor.segments) }
}

/** Leaf and place in it of a token's piece. */
export const pieceAddress = (layout: BundleLayout, token: number) => ({
  leaf: layout.pieces + Math.floor(token / PIECES_PER_LEAF),
  index: token % PIECES_PER_LEAF,
})

/** The pieces of a leaf: `u16 length[m] ‖ bytes`. Errors: `bundle-invalid`. */
export function decodePieces(leaf: Uint8Array, count: number): Uint8Array[] {
  const view = new DataView(leaf.buffer, leaf.byteOffset, leaf.byteLength)
  let at = count * 2
  const pieces = Array.from({ length: count }, (_, i) => {
    const length = at <= leaf.length ? view.getUint16(i * 2, true) : Number.POSITIVE_INFINITY
    at += length
    return leaf.subarray(at - length, at)
  })
  if (at !== leaf.length) throw new ApusError('bundle-invalid', 'A leaf of pieces has another length.')
  return pieces
}

/** Pieces in the leaf that begins with this token. */
export const piecesInLeaf = (vocab: number, leaf: number): number =>
  Math.min(PIECES_PER_LEAF, vocab - leaf * PIECES_PER_LEAF)
