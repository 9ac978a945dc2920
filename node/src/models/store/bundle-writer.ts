import { type FileHandle, mkdir, open, readFile, rename, rm } from 'node:fs/promises'
import { join } from 'node:path'
import { merkleRoot, toBase64Url } from '@apus/shared/hashing'
import { ApusError } from '@apus/shared/kit'
import { bundleLeaf } from '@apus/shared/machine'
import { BUNDLE_FILE, INDEX_ENTRY, INDEX_FILE } from './bundle-file.ts'

const JOURNAL_FILE = 'import.journal'
/** Leaf bytes gathered before a write. */
const FLUSH_BYTES = 4 << 20

interface Mark {
  readonly leaves: number
  readonly bytes: number
  readonly note: unknown
}

/**
 * Writes a bundle leaf by leaf into a folder, with the list of leaf hashes beside it. After a crash it goes on from the
 * last mark. Errors: `disk-full`.
 */
export class BundleWriter {
  readonly #folder: string
  readonly #bundle: FileHandle
  readonly #index: FileHandle
  readonly #journal: FileHandle
  readonly #notes: unknown[]
  readonly #hashes: Uint8Array[]
  #pending: Uint8Array[] = []
  #pendingBytes = 0
  #entries: Buffer[] = []
  #bytes: number

  private constructor(
    folder: string,
    files: { bundle: FileHandle; index: FileHandle; journal: FileHandle },
    state: { marks: readonly Mark[]; hashes: Uint8Array[] },
  ) {
    this.#folder = folder
    this.#bundle = files.bundle
    this.#index = files.index
    this.#journal = files.journal
    this.#notes = state.marks.map(m => m.note)
    this.#hashes = state.hashes
    this.#bytes = state.marks.at(-1)?.bytes ?? 0
  }

  static async open(folder: string): Promise<BundleWriter> {
    await mkdir(folder, { recursive: true })
    const marks = await readMarks(join(folder, JOURNAL_FILE))
    const last = marks.at(-1) ?? { leaves: 0, bytes: 0 }
    const bundle = await open(join(folder, BUNDLE_FILE), 'a+')
    const index = await open(join(folder, INDEX_FILE), 'a+')
    const journal = await open(join(folder, JOURNAL_FILE), 'a+')
    const files = { bundle, index, journal }
    const long =
      (await bundle.stat()).size >= last.bytes && (await index.stat()).size >= last.leaves * INDEX_ENTRY
    const kept = long ? last : { leaves: 0, bytes: 0 }
    await bundle.truncate(kept.bytes)
    await index.truncate(kept.leaves * INDEX_ENTRY)
    if (!long) await journal.truncate(0)
    const entries = Buffer.alloc(kept.leaves * INDEX_ENTRY)
    if (entries.length > 0) await index.read(entries, 0, entries.length, 0)
    const hashes = Array.from({ length: kept.leaves }, (_, i) =>
      Uint8Array.from(entries.subarray(i * INDEX_ENTRY, i * INDEX_ENTRY + 32)),
    )
    return new BundleWriter(folder, files, { marks: long ? marks : [], hashes })
  }

  /** What earlier runs noted at their marks, oldest first. */
  get notes(): readonly unknown[] {
    return this.#notes
  }

  get leafCount(): number {
    return this.#hashes.length
  }

  async append(leaf: Uint8Array): Promise<void> {
    const hash = bundleLeaf(leaf)
    const entry = Buffer.alloc(INDEX_ENTRY)
    entry.set(hash)
    entry.writeUInt32LE(leaf.length, 32)
    this.#hashes.push(hash)
    this.#entries.push(entry)
    this.#pending.push(leaf)
    this.#pendingBytes += leaf.length
    if (this.#pendingBytes >= FLUSH_BYTES) await this.#flush()
  }

  /** Makes everything written so far survive a crash, and remembers `note` with it. */
  async mark(note: unknown): Promise<void> {
    await this.#flush()
    await this.#guard(async () => {
      await this.#bundle.datasync()
      await this.#index.datasync()
      const mark: Mark = { leaves: this.#hashes.length, bytes: this.#bytes, note }
      await this.#journal.appendFile(`${JSON.stringify(mark)}\n`)
      await this.#journal.datasync()
    })
    this.#notes.push(note)
  }

  /** Closes the finished bundle and moves it to `store`, under its root, which is returned (base64url). */
  async finish(store: string): Promise<string> {
    await this.#flush()
    await this.#guard(() => this.#bundle.datasync())
    await this.close()
    const root = toBase64Url(merkleRoot(this.#hashes))
    await rm(join(this.#folder, JOURNAL_FILE))
    await rm(join(store, root), { recursive: true, force: true })
    await rename(this.#folder, join(store, root))
    return root
  }

  async close(): Promise<void> {
    for (const file of [this.#bundle, this.#index, this.#journal]) await file.close()
  }

  async #flush(): Promise<void> {
    const [leaves, entries] = [Buffer.concat(this.#pending), Buffer.concat(this.#entries)]
    await this.#guard(async () => {
      await this.#bundle.appendFile(leaves)
      await this.#index.appendFile(entries)
    })
    this.#bytes += leaves.length
    this.#pending = []
    this.#pendingBytes = 0
    this.#entries = []
  }

  async #guard(write: () => Promise<void>): Promise<void> {
    try {
      await write()
    } catch (cause) {
      if (cause instanceof Error && 'code' in cause && cause.code === 'ENOSPC')
        throw new ApusError(
          'disk-full',
          'The disk is full; free some space and import again, it goes on where it was.',
          {
            cause,
          },
        )
      throw cause
    }
  }
}

async function readMarks(path: string): Promise<Mark[]> {
  let text: string
  try {
    text = await readFile(path, 'utf8')
  } catch {
    return []
  }
  const marks: Mark[] = []
  // The last line may have been cut by a crash.
  for (const line of text.split('\n').slice(0, -1)) {
    try {
      marks.push(JSON.parse(line) as Mark)
    } catch {
      break
    }
  }
  return marks
}
