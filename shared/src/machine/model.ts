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

/** Weights whose tiles stay decoded: whole small models, and little enough of large ones to hold several at a time. */
const KEPT_WEIGHTS = 2 ** 27

/** A bundle decoded for computing: clear rather than small. Leaves are checked when they are first read: `bundle-invalid`. */
export class Model {
  readonly manifest: Manifest
  readonly layout: BundleLayout
  readonly frequencies: BigUint64Array
  readonly pieces: readonly Uint8Array[]
  readonly #bundle: BundleReader
  /** Every position asks for tiles in the same order: those that come first stay. */
  readonly #tiles = new Map<number, Tile>()
  #room: number
  /** Its rows are asked for one after the other. */
  #latest: { readonly leaf: number; readonly tile: Tile } | undefined
  readonly #gains = new Map<number, Int32Array>()

  /** @param keptWeights weights that stay decoded, once they were; none are worth it where each is needed once */
  constructor(bundle: BundleReader, keptWeights = KEPT_WEIGHTS) {
    this.#bundle = bundle
    this.#room = keptWeights
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
    let tile = this.#latest?.leaf === address.leaf ? this.#latest.tile : this.#tiles.get(address.leaf)
    if (!tile) {
      tile = decodeTile(this.#leaf(address.leaf), address.rows, address.columns)
      if (segment > 0) demandSameShifts(this.tile(tensor, row, 0)[0].shifts, tile.shifts)
      this.#keep(address.leaf, tile)
    }
    return [tile, row - address.row]
  }

  #keep(leaf: number, tile: Tile): void {
    this.#latest = { leaf, tile }
    if (tile.weights.length > this.#room) return
    this.#room -= tile.weights.length
    this.#tiles.set(leaf, tile)
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
