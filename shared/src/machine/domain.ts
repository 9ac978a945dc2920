import { ApusError } from '../kit/errors.ts'
import { type BundleLayout, decodePieces, piecesInLeaf, type TilePlace, tileAt } from './layout.ts'
import { decodeTile, type Tile } from './linear.ts'
import { decodeManifest, type Manifest } from './manifest.ts'
import { SAT } from './numbers.ts'
import { LEAF_VALUES, MAX_PIECE_BYTES, PIECES_PER_LEAF, SEGMENT, TOKENIZER_LEAF } from './sizes.ts'

export const MAX_MULTIPLIER = 2047
export const SHIFTS = { least: 1, most: 56 } as const
const FREQUENCY_LIMIT = 1n << 44n
/** What the shift of an embedding's row leaves after both formats (SPEC.md §3.2). */
export const EMBEDDING_SHIFTS = { least: -12, most: 30 } as const

/** Checks that a bundle's leaf has its length and only values that the machine allows (SPEC.md §5). Errors: `bundle-invalid`. */
export function checkLeaf(manifest: Manifest, layout: BundleLayout, index: number, leaf: Uint8Array): void {
  const tile = tileAt(layout, index)
  if (index === 0) decodeManifest(leaf)
  else if (index === layout.frequencies) checkFrequencies(manifest, leaf)
  else if (tile) checkTile(manifest, tile, leaf)
  else if (index < layout.pieces) checkGains(manifest, (index - layout.gains(0)) % layout.gainLeaves, leaf)
  else if (index < layout.tokenizer) checkPieces(manifest, index - layout.pieces, leaf)
  else
    checkLength(
      leaf,
      Math.min(TOKENIZER_LEAF, manifest.tokenizerBytes - (index - layout.tokenizer) * TOKENIZER_LEAF),
    )
}

function demand(condition: boolean, what: string): void {
  if (!condition)
    throw new ApusError('bundle-invalid', `The bundle is outside what the machine allows: ${what}.`)
}

const checkLength = (leaf: Uint8Array, length: number): void =>
  demand(leaf.length === length, `a leaf has ${leaf.length} bytes, not ${length}`)

function checkFrequencies({ headSize }: Manifest, leaf: Uint8Array): void {
  checkLength(leaf, headSize * 4)
  const frequencies = new BigUint64Array(new Uint8Array(leaf).buffer)
  demand(
    frequencies.every(f => f < FREQUENCY_LIMIT),
    'a frequency of 2^44 or more',
  )
}

function checkGains({ width }: Manifest, leafOfNorm: number, leaf: Uint8Array): void {
  checkLength(leaf, 4 * Math.min(LEAF_VALUES, width - leafOfNorm * LEAF_VALUES))
  demand(new Int32Array(new Uint8Array(leaf).buffer).every(isStored), 'a gain of 2^30 or more')
}

const isStored = (v: number): boolean => Math.abs(v) <= SAT

function checkTile(
  manifest: Manifest,
  { tensor, segment, rows, columns }: TilePlace,
  leaf: Uint8Array,
): void {
  checkLength(leaf, rows * (columns + columns / 16 + 5))
  const tile = decodeTile(leaf, rows, columns)
  demand(!tile.weights.includes(-128), 'a weight of -128')
  demand(
    tile.multipliers.every(m => m <= MAX_MULTIPLIER),
    'a multiplier above 2047',
  )
  demand(
    tile.shifts.every(s => s >= SHIFTS.least && s <= SHIFTS.most),
    'a shift that is not 1 to 56',
  )
  demand(tile.biases.every(isStored), 'a bias of 2^30 or more')
  demand(segment === 0 || tile.biases.every(b => b === 0), 'a bias after the first segment')
  demand(paddingIsZero(tile, tensor.columns - segment * SEGMENT), 'a weight in the padding')
  const embeds = tensor.kind === 'embedding' || (tensor.kind === 'output' && manifest.tied)
  if (embeds) checkEmbedding(tile, manifest.formats.residual)
}

/** Refuses segments of the same rows whose shifts differ. Errors: `bundle-invalid`. */
export function demandSameShifts(first: Uint8Array, other: Uint8Array): void {
  demand(
    other.every((shift, row) => shift === first[row]),
    'segments of a row with different shifts',
  )
}

const paddingIsZero = ({ weights, columns }: Tile, used: number): boolean =>
  used >= columns || weights.every((w, i) => w === 0 || i % columns < used)

function checkEmbedding({ shifts, biases }: Tile, residual: number): void {
  const fits = (shift: number): boolean => {
    const es = shift - 2 - residual
    return es >= EMBEDDING_SHIFTS.least && es <= EMBEDDING_SHIFTS.most
  }
  demand(shifts.every(fits), 'a shift of the embedding that its format does not fit')
  demand(
    biases.every(b => b === 0),
    'a bias in the embedding',
  )
}

function checkPieces({ vocab }: Manifest, index: number, leaf: Uint8Array): void {
  const count = piecesInLeaf(vocab, index)
  demand(
    leaf.length >= count * 2 && leaf.length <= PIECES_PER_LEAF * (2 + MAX_PIECE_BYTES),
    'a leaf of pieces',
  )
  demand(
    decodePieces(leaf, count).every(piece => piece.length <= MAX_PIECE_BYTES),
    'a piece above 256 bytes',
  )
}
