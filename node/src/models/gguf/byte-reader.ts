import type { FileHandle } from 'node:fs/promises'
import { ggufError } from './gguf-error.ts'

/** Bytes fetched at a time; headers of real models are 1 to 10 MB. */
const CHUNK = 1 << 20

const utf8 = new TextDecoder('utf-8')
const strictUtf8 = new TextDecoder('utf-8', { fatal: true })

/** Reads little-endian values from the front of a file, never past its end (`gguf-truncated`). */
export class ByteReader {
  readonly #file: FileHandle
  readonly #size: number
  #chunk = Buffer.alloc(0)
  #chunkAt = 0
  #position = 0

  constructor(file: FileHandle, size: number) {
    this.#file = file
    this.#size = size
  }

  get position(): number {
    return this.#position
  }

  get remaining(): number {
    return this.#size - this.#position
  }

  /** The next `count` bytes; valid until the next call. */
  async take(count: number): Promise<Buffer> {
    if (count > this.remaining)
      throw ggufError(
        'gguf-truncated',
        `The file ends at byte ${this.#size}, inside a field of ${count} bytes that starts at ${this.#position}.`,
      )
    let from = this.#position - this.#chunkAt
    if (from < 0 || from + count > this.#chunk.length) {
      await this.#fetch(count)
      from = 0
    }
    this.#position += count
    return this.#chunk.subarray(from, from + count)
  }

  async #fetch(count: number): Promise<void> {
    const length = Math.min(this.remaining, Math.max(count, CHUNK))
    const chunk = Buffer.allocUnsafe(length)
    for (let have = 0; have < length; ) {
      const { bytesRead } = await this.#file.read(chunk, have, length - have, this.#position + have)
      if (bytesRead === 0) throw ggufError('gguf-truncated', 'The file became shorter while it was read.')
      have += bytesRead
    }
    this.#chunk = chunk
    this.#chunkAt = this.#position
  }

  async u32(): Promise<number> {
    return (await this.take(4)).readUInt32LE()
  }

  /** A u64 that counts something. Counts above `limit` are refused (`gguf-absurd`). */
  async count(what: string, limit: number): Promise<number> {
    const value = (await this.take(8)).readBigUInt64LE()
    if (value > BigInt(limit))
      throw ggufError('gguf-absurd', `The file claims ${value} ${what}; at most ${limit} are accepted.`)
    return Number(value)
  }

  /** Text; broken UTF-8 is refused when `strict`, else replaced. */
  async text(limit: number, strict: boolean): Promise<string> {
    const bytes = await this.take(await this.count('bytes of text', limit))
    if (!strict) return utf8.decode(bytes)
    try {
      return strictUtf8.decode(bytes)
    } catch (cause) {
      throw ggufError('gguf-corrupt', `The text before byte ${this.#position} is not UTF-8.`, cause)
    }
  }
}
