import { createReadStream, existsSync, mkdirSync, readFileSync } from 'node:fs'
import { appendFile, open, rename, rm } from 'node:fs/promises'
import { join } from 'node:path'
import type { Readable } from 'node:stream'
import type { ProvedChunk } from '@apus/shared/arweave'
import { SerialLane } from '../serial-lane.ts'

interface Arriving {
  readonly lane: SerialLane
  /** Left bounds of the chunks that are there, with their sizes. */
  readonly chunks: Map<number, number>
  bytes: number
}

/** Transaction data in files, one per data root; each chunk is written to its place. */
export class WeaveFiles {
  readonly #dir: string
  readonly #arriving = new Map<string, Arriving>()

  constructor(dir: string) {
    this.#dir = dir
    mkdirSync(dir, { recursive: true })
  }

  has(root: string, bytes: number): boolean {
    return bytes === 0 || existsSync(this.#path(root, bytes))
  }

  /** Bytes `first` to `last`, both included. */
  read(root: string, bytes: number, first: number, last: number): Readable {
    return createReadStream(this.#path(root, bytes), { start: first, end: last })
  }

  /** Stores data that came whole. */
  async put(root: string, data: Uint8Array): Promise<void> {
    const path = this.#path(root, data.length)
    const file = await open(`${path}.part`, 'w')
    await file.writeFile(data)
    await this.#finish(file, path)
  }

  /** Stores one chunk; whether the data is complete with it. */
  putChunk({ root, bytes, left, content }: ProvedChunk): Promise<boolean> {
    const arriving = this.#arrivingAt(root, bytes)
    return arriving.lane.run(() => this.#write(this.#path(root, bytes), bytes, arriving, left, content))
  }

  async #write(
    path: string,
    bytes: number,
    arriving: Arriving,
    left: number,
    content: Uint8Array,
  ): Promise<boolean> {
    if (existsSync(path)) return true
    if (arriving.chunks.has(left)) return false
    const file = await open(`${path}.part`, existsSync(`${path}.part`) ? 'r+' : 'w+')
    try {
      await file.write(content, 0, content.length, left)
    } finally {
      await file.close()
    }
    arriving.chunks.set(left, content.length)
    arriving.bytes += content.length
    await appendFile(`${path}.chunks`, `${left} ${content.length}\n`)
    if (arriving.bytes < bytes) return false
    await this.#finish(await open(`${path}.part`, 'r+'), path)
    await rm(`${path}.chunks`, { force: true })
    this.#arriving.delete(path)
    return true
  }

  async #finish(file: Awaited<ReturnType<typeof open>>, path: string): Promise<void> {
    try {
      await file.sync()
    } finally {
      await file.close()
    }
    await rename(`${path}.part`, path)
  }

  /** Chunks that arrived before a restart are noted beside the unfinished file. */
  #arrivingAt(root: string, bytes: number): Arriving {
    const path = this.#path(root, bytes)
    const known = this.#arriving.get(path)
    if (known) return known
    const chunks = new Map<number, number>()
    const noted = existsSync(`${path}.chunks`) ? readFileSync(`${path}.chunks`, 'utf8') : ''
    for (const line of noted.split('\n').slice(0, -1)) {
      const [left, size] = line.split(' ').map(Number)
      if (left !== undefined && size !== undefined) chunks.set(left, size)
    }
    const total = [...chunks.values()].reduce((sum, size) => sum + size, 0)
    const arriving = { lane: new SerialLane(), chunks, bytes: total }
    this.#arriving.set(path, arriving)
    return arriving
  }

  #path(root: string, bytes: number): string {
    return join(this.#dir, `${root}.${bytes}`)
  }
}
