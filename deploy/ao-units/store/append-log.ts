import {
  closeSync,
  fdatasync,
  fdatasyncSync,
  fstatSync,
  ftruncateSync,
  openSync,
  readSync,
  writeFileSync,
  writeSync,
} from 'node:fs'
import { promisify } from 'node:util'
import { crc32 } from 'node:zlib'
import { ApusError } from '@apus/shared/kit'

/** One thing written down: a small JSON header and the bytes it speaks of. */
export interface LogEntry<Header> {
  readonly header: Header
  readonly body: Uint8Array
}

/** Where the body of an entry lies in the file. */
export interface LogPlace {
  readonly offset: number
  readonly bytes: number
}

/** Frame: length and CRC-32 of what follows, each four bytes. */
const FRAME_HEAD_BYTES = 8
/** Entry: length of its header and of its body, each four bytes. */
const ENTRY_HEAD_BYTES = 8

const sync = promisify(fdatasync)

/**
 * An append-only file of frames. All entries of one `append` lie in one frame under one checksum, so that after a
 * crash either all of them are there or none.
 *
 * Every frame is written before `append` returns, which is what survives a killed process; `durable` waits for an
 * `fdatasync`, which is what survives a power cut. Callers that wait together share one sync, so an answer costs one
 * sync at most and a busy log needs far fewer syncs than frames. Nothing that could not be derived again is answered
 * before its sync, therefore what a power cut takes away nobody has relied on.
 */
export class AppendLog<Header> {
  readonly #path: string
  readonly #file: number
  #end = 0
  #synced = 0
  #failure: ApusError | undefined
  #syncing: Promise<void> | undefined
  #next: Promise<void> | undefined

  constructor(path: string) {
    this.#path = path
    this.#file = openSync(path, 'a+', 0o600)
  }

  /**
   * Passes every entry in the file to `visit`, in order; to be called once, before anything is appended. A torn tail
   * is cut off, and kept beside the file as `<path>.torn` in case somebody wants to look at it.
   */
  replay(visit: (header: Header, body: Uint8Array, place: LogPlace) => void): void {
    this.#end = this.#scan(visit)
    const tornBytes = fstatSync(this.#file).size - this.#end
    if (tornBytes > 0) {
      const torn = this.read({ offset: this.#end, bytes: tornBytes })
      writeFileSync(`${this.#path}.torn`, torn, { flush: true })
      ftruncateSync(this.#file, this.#end)
    }
    // What a killed process wrote may not be on the disk yet, and is about to be shown to readers.
    fdatasyncSync(this.#file)
    this.#synced = this.#end
  }

  /** Set once a write failed; from then on nothing more is accepted, since memory is ahead of the file. */
  get failure(): ApusError | undefined {
    return this.#failure
  }

  /** Writes entries as one frame and tells where their bodies lie. Errors: `log-write-failed`. */
  append(entries: ReadonlyArray<LogEntry<Header>>): LogPlace[] {
    if (this.#failure) throw this.#failure
    const parts: Uint8Array[] = []
    const places: LogPlace[] = []
    let length = 0
    for (const { header, body } of entries) {
      const text = Buffer.from(JSON.stringify(header))
      const head = Buffer.alloc(ENTRY_HEAD_BYTES)
      head.writeUInt32LE(text.length, 0)
      head.writeUInt32LE(body.length, 4)
      parts.push(head, text, body)
      const offset = this.#end + FRAME_HEAD_BYTES + length + ENTRY_HEAD_BYTES + text.length
      places.push({ offset, bytes: body.length })
      length += ENTRY_HEAD_BYTES + text.length + body.length
    }
    const frame = Buffer.concat([Buffer.alloc(FRAME_HEAD_BYTES), ...parts], FRAME_HEAD_BYTES + length)
    frame.writeUInt32LE(length, 0)
    frame.writeUInt32LE(crc32(frame.subarray(FRAME_HEAD_BYTES)), 4)
    try {
      for (let at = 0; at < frame.length; ) at += writeSync(this.#file, frame, at)
    } catch (cause) {
      throw this.#fail(cause)
    }
    this.#end += frame.length
    return places
  }

  read({ offset, bytes }: LogPlace): Buffer {
    const buffer = Buffer.allocUnsafe(bytes)
    for (let at = 0; at < bytes; ) {
      const got = readSync(this.#file, buffer, at, bytes - at, offset + at)
      if (got === 0) throw new ApusError('log-read-failed', 'The log is shorter than its index says.')
      at += got
    }
    return buffer
  }

  /** Whether that body is on the disk already. */
  holds({ offset, bytes }: LogPlace): boolean {
    return offset + bytes <= this.#synced
  }

  /** Resolves when everything appended so far is on the disk. Errors: `log-write-failed`. */
  async durable(): Promise<void> {
    if (this.#failure) throw this.#failure
    if (this.#synced < this.#end) await this.#nextSync()
  }

  #nextSync(): Promise<void> {
    if (!this.#syncing) {
      this.#syncing = this.#sync().finally(() => {
        this.#syncing = undefined
      })
      return this.#syncing
    }
    // A sync under way may have begun before the newest frame was written, so that frame waits for the next one.
    this.#next ??= this.#syncing
      .catch(() => {})
      .then(() => {
        this.#next = undefined
        return this.#nextSync()
      })
    return this.#next
  }

  async close(): Promise<void> {
    if (!this.#failure) await this.durable()
    closeSync(this.#file)
  }

  async #sync(): Promise<void> {
    // One turn of the event loop, so that frames of requests already received share this sync.
    await new Promise(resolve => setImmediate(resolve))
    if (this.#failure) throw this.#failure
    const end = this.#end
    try {
      await sync(this.#file)
      this.#synced = end
    } catch (cause) {
      throw this.#fail(cause)
    }
  }

  #fail(cause: unknown): ApusError {
    this.#failure ??= new ApusError(
      'log-write-failed',
      'The log of the AO units cannot be written, so nothing more is accepted until a restart.',
      { cause },
    )
    return this.#failure
  }

  #scan(visit: (header: Header, body: Uint8Array, place: LogPlace) => void): number {
    const { size } = fstatSync(this.#file)
    let at = 0
    while (at + FRAME_HEAD_BYTES <= size) {
      const head = this.read({ offset: at, bytes: FRAME_HEAD_BYTES })
      const length = head.readUInt32LE(0)
      if (at + FRAME_HEAD_BYTES + length > size) break
      const frame = this.read({ offset: at + FRAME_HEAD_BYTES, bytes: length })
      if (crc32(frame) !== head.readUInt32LE(4)) break
      for (let inner = 0; inner < length; ) {
        const headerBytes = frame.readUInt32LE(inner)
        const bytes = frame.readUInt32LE(inner + 4)
        const start = inner + ENTRY_HEAD_BYTES
        const header = JSON.parse(frame.toString('utf8', start, start + headerBytes)) as Header
        const body = frame.subarray(start + headerBytes, start + headerBytes + bytes)
        visit(header, body, { offset: at + FRAME_HEAD_BYTES + start + headerBytes, bytes })
        inner = start + headerBytes + bytes
      }
      at += FRAME_HEAD_BYTES + length
    }
    return at
  }
}
