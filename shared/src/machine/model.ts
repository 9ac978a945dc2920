import { ApusError } from '../kit/errors.ts'
import { checkLeaf, demandSameShifts } from './domain.ts'
import { type BundleLayout, bundleLayout, decodePieces, piecesInLeaf, type Tensor, tileOf } from './layout.ts'
import { decodeTile, type Tile } from './linear.ts'
import { decodeManifest, type Manifest } from './manifest.ts'

/** A bundle's leaves by index, already known to belong to its root. */
export interface BundleReader {
  readonly root: string
  readonly leafCount: number
  leaf(index: number): Uint8Array
}

export interface LayerTensors {
  readonly qkv: Tensor
  readonly o: Tensor
  readonly gateUp: Tensor
  readonly down: Tensor
}

/** A bundle decoded for computing: clear rather than small. Leaves are checked when they are first read: `bundle-invalid`. */
export class Model {
  readonly manifest: Manifest
  readonly layout: BundleLayout
  readonly frequencies: BigUint64Array
  readonly pieces: readonly Uint8Array[]
  readonly #bundle: BundleReader
  readonly #tiles = new Map<number, Tile>()
  readonly #gains = new Map<number, Int32Array>()

  constructor(bundle: BundleReader) {
    this.#bundle = bundle
    this.manifest = decodeManifest(bundle.leaf(0))
    this.layout = bundleLayout(this.manifest)
    if (bundle.leafCount !== this.layout.leafCount) {
      throw new ApusError(
        'bundle-invalid',
        `The bundle has ${bundle.leafCount} leaves, not ${this.layout.leafCount}.`,
      )
    }
    this.frequencies = new BigUint64Array(new Uint8Array(this.#leaf(this.layout.frequencies)).buffer)
    const { vocab } = this.manifest
    const pieceLeaves = this.layout.tokenizer - this.layout.pieces
    this.pieces = Array.from({ length: pieceLeaves }, (_, i) =>
      decodePieces(this.#leaf(this.layout.pieces + i), piecesInLeaf(vocab, i)),
    ).flat()
  }

  /** The tile that holds a row of a tensor's segment, and where the row is in it. */
  tile(tensor: Tensor, row: number, segment: number): readonly [tile: Tile, row: number] {
    const address = tileOf(tensor, row, segment)
    let tile = this.#tiles.get(address.leaf)
    if (!tile) {
      tile = decodeTile(this.#leaf(address.leaf), address.rows, address.columns)
      if (segment > 0) demandSameShifts(this.tile(tensor, row, 0)[0].shifts, tile.shifts)
      this.#tiles.set(address.leaf, tile)
    }
    return [tile, row - address.row]
  }

  gains(norm: number): Int32Array {
    const known = this.#gains.get(norm)
    if (known) return known
    const first = this.layout.gains(norm)
    const leaves = Array.from({ length: this.layout.gainLeaves }, (_, i) => this.#leaf(first + i))
    const gains = new Int32Array(new Uint8Array(Buffer.concat(leaves)).slice().buffer)
    this.#gains.set(norm, gains)
    return gains
  }

  #leaf(index: number): Uint8Array {
    const leaf = this.#bundle.leaf(index)
    checkLeaf(this.manifest, this.layout, index, leaf)
    return leaf
  }
}
