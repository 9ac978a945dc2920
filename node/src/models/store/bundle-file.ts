import { readSync } from 'node:fs'
import { type FileHandle, open } from 'node:fs/promises'
import { basename, join } from 'node:path'
import { merkleLevels, merkleRoot, toBase64Url } from '@apus/shared/hashing'
import { ApusError } from '@apus/shared/kit'
import { bundleLeaf } from '@apus/shared/machine'
import type { ProvingBundle } from '@apus/shared/replay'
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
export class BundleFile implements ProvingBundle {
  readonly root: string
  readonly leafCount: number
  readonly bytes: number
  readonly #file: FileHandle
  readonly #index: Buffer
  readonly #offsets: Float64Array
  #levels: readonly (readonly Uint8Array[])[] | undefined

  private constructor(file: FileHandle, index: Buffer) {
    this.#file = file
    this.#index = index
    this.leafCount = index.length / INDEX_ENTRY
    this.#offsets = new Float64Array(this.leafCount + 1)
    for (let i = 0; i < this.leafCount; i++) {
      this.#offsets[i + 1] = this.#offset(i) + index.readUInt32LE(i * INDEX_ENTRY + 32)
    }
    this.bytes = this.#offset(this.leafCount)
    this.root = toBase64Url(merkleRoot(this.#hashes()))
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
        throw corrupt('The length of the bundle is not the sum of its leaves.')
      const name = basename(folder)
      if (ROOT_NAME.test(name) && name !== bundle.root)
        throw corrupt('The list of leaves does not belong to the bundle that the folder is named after.')
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
      if (bytesRead === 0) throw shortened()
      have += bytesRead
    }
    return Array.from({ length: to - from }, (_, i) =>
      block.subarray(this.#offset(from + i) - start, this.#offset(from + i + 1) - start),
    )
  }

  /** One leaf, read while the caller waits and checked against the list of hashes. Errors: `bundle-corrupt`. */
  leaf(index: number): Uint8Array {
    const start = this.#offset(this.#existing(index))
    const leaf = new Uint8Array(this.#offset(index + 1) - start)
    for (let have = 0; have < leaf.length; ) {
      const bytesRead = readSync(this.#file.fd, leaf, have, leaf.length - have, start + have)
      if (bytesRead === 0) throw shortened()
      have += bytesRead
    }
    this.#check(index, leaf)
    return leaf
  }

  /** Sibling hashes of a leaf up to the root. Builds the tree once (32 bytes a node) and keeps it. */
  path(leaf: number): Uint8Array[] {
    this.#existing(leaf)
    this.#levels ??= merkleLevels(this.#hashes())
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
        this.#check(from + i, leaf)
        yield [from + i, leaf]
      }
      from = to
    }
  }

  close(): Promise<void> {
    return this.#file.close()
  }

  #existing(leaf: number): number {
    if (!(Number.isInteger(leaf) && leaf >= 0 && leaf < this.leafCount))
      throw new RangeError('leaf index out of range')
    return leaf
  }

  #check(index: number, leaf: Uint8Array): void {
    if (Buffer.compare(bundleLeaf(leaf), this.#hash(index)) !== 0)
      throw corrupt(`The leaf ${index} of the bundle is not the one that was imported.`)
  }

  #hash(leaf: number): Uint8Array {
    return this.#index.subarray(leaf * INDEX_ENTRY, leaf * INDEX_ENTRY + 32)
  }

  #hashes(): Uint8Array[] {
    return Array.from({ length: this.leafCount }, (_, leaf) => this.#hash(leaf))
  }

  #offset(leaf: number): number {
    return this.#offsets[leaf] as number
  }
}

const shortened = (): ApusError => corrupt('The bundle became shorter while it was read.')
const corrupt = (message: string): ApusError => new ApusError('bundle-corrupt', message)
