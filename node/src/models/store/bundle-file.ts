import { type FileHandle, open } from 'node:fs/promises'
import { basename, join } from 'node:path'
import { ApusError, merkleLevels, merkleRoot, toBase64Url } from '@apus/shared'
import { bundleLeaf } from '@apus/shared/machine'
import { stopIfAborted } from '../stop-if-aborted.ts'

/** The name of a bundle's folder: its root in base64url. */
export const ROOT_NAME = /^[A-Za-z0-9_-]{43}$/
export const BUNDLE_FILE = 'bundle'
/** Beside the leaves: 32 bytes hash and u32 length for each. */
export const INDEX_FILE = 'leaves'
export const INDEX_ENTRY = 36
/** Bytes read together when all leaves are checked. */
const READ_BYTES = 4 << 20

/** A bundle on disk: leaves by index, and the proof that each belongs to the root. */
export class BundleFile {
  readonly root: string
  readonly leafCount: number
  readonly bytes: number
  readonly #file: FileHandle
  readonly #hashes: readonly Uint8Array[]
  readonly #offsets: Float64Array
  #levels: readonly (readonly Uint8Array[])[] | undefined

  private constructor(file: FileHandle, index: Buffer) {
    this.#file = file
    this.leafCount = index.length / INDEX_ENTRY
    this.#offsets = new Float64Array(this.leafCount + 1)
    const hashes: Uint8Array[] = []
    for (let i = 0; i < this.leafCount; i++) {
      hashes.push(index.subarray(i * INDEX_ENTRY, i * INDEX_ENTRY + 32))
      this.#offsets[i + 1] = this.#offset(i) + index.readUInt32LE(i * INDEX_ENTRY + 32)
    }
    this.#hashes = hashes
    this.bytes = this.#offset(this.leafCount)
    this.root = toBase64Url(merkleRoot(hashes))
  }

  /**
   * Opens the bundle in a folder; one that bears a root must hold the bundle of that root. Its leaves are not read yet.
   * Errors: `bundle-missing`, `bundle-corrupt`.
   */
  static async open(folder: string): Promise<BundleFile> {
    let file: FileHandle | undefined
    try {
      const listing = await open(join(folder, INDEX_FILE), 'r')
      const index = await listing.readFile().finally(() => listing.close())
      file = await open(join(folder, BUNDLE_FILE), 'r')
      if (index.length % INDEX_ENTRY !== 0) throw corrupt('The list of leaves is cut off.')
      const bundle = new BundleFile(file, index)
      if ((await file.stat()).size !== bundle.bytes)
        throw corrupt('The bundle has not the length of its leaves.')
      const name = basename(folder)
      if (ROOT_NAME.test(name) && name !== bundle.root)
        throw corrupt('The list of leaves does not belong to the bundle whose name it bears.')
      return bundle
    } catch (cause) {
      await file?.close()
      if (cause instanceof ApusError) throw cause
      throw new ApusError('bundle-missing', `There is no bundle in ${folder}.`, { cause })
    }
  }

  /** The bytes of leaves `from` (inclusive) to `to` (exclusive) as they lie on disk, unchecked. */
  async leaves(from: number, to = from + 1): Promise<Uint8Array[]> {
    if (!(Number.isInteger(from) && from >= 0 && from <= to && to <= this.leafCount))
      throw new RangeError('leaf index out of range')
    const start = this.#offset(from)
    const block = Buffer.alloc(this.#offset(to) - start)
    for (let have = 0; have < block.length; ) {
      const { bytesRead } = await this.#file.read(block, have, block.length - have, start + have)
      if (bytesRead === 0) throw corrupt('The bundle became shorter while it was read.')
      have += bytesRead
    }
    return Array.from({ length: to - from }, (_, i) =>
      block.subarray(this.#offset(from + i) - start, this.#offset(from + i + 1) - start),
    )
  }

  /** Sibling hashes of a leaf up to the root. Builds the tree once (32 bytes a node) and keeps it. */
  path(leaf: number): Uint8Array[] {
    if (!(leaf >= 0 && leaf < this.leafCount)) throw new RangeError('leaf index out of range')
    this.#levels ??= merkleLevels(this.#hashes)
    return this.#levels.flatMap((level, depth) => level[(leaf >> depth) ^ 1] ?? [])
  }

  /**
   * Every leaf in order with its index, read in large pieces and checked against the list of hashes.
   * Errors: `bundle-corrupt`, `aborted`.
   */
  async *checkedLeaves(signal?: AbortSignal): AsyncGenerator<readonly [index: number, leaf: Uint8Array]> {
    for (let from = 0; from < this.leafCount; ) {
      stopIfAborted(signal)
      let to = from + 1
      while (to < this.leafCount && this.#offset(to + 1) - this.#offset(from) <= READ_BYTES) to++
      for (const [i, leaf] of (await this.leaves(from, to)).entries()) {
        if (Buffer.compare(bundleLeaf(leaf), this.#hashes[from + i] as Uint8Array) !== 0)
          throw corrupt(`The leaf ${from + i} of the bundle is not the one that was imported.`)
        yield [from + i, leaf]
      }
      from = to
    }
  }

  close(): Promise<void> {
    return this.#file.close()
  }

  #offset(leaf: number): number {
    return this.#offsets[leaf] as number
  }
}

const corrupt = (message: string): ApusError => new ApusError('bundle-corrupt', message)
