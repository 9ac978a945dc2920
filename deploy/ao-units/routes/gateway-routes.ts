import { createReadStream } from 'node:fs'
import { Readable } from 'node:stream'
import { pipeline } from 'node:stream/promises'
import { admitChunk, admitTransaction, type Tag } from '@apus/shared/arweave'
import { ApusError } from '@apus/shared/kit'
import { tagValue } from '../ao-message.ts'
import { isId } from '../messages/outgoing.ts'
import { heightAt } from '../messages/schedule.ts'
import type { Units } from '../messages/units.ts'
import type { WeaveFiles } from '../store/weave-files.ts'
import { byteRange } from './byte-range.ts'
import { answerGraphql, blockOf } from './graphql.ts'
import { type Exchange, type Route, readBody, readJson, sendJson, sendText } from './http.ts'
import { verifiedItem } from './legacy-routes.ts'
import type { ModuleRecord } from './module-record.ts'
import { unbundle } from './unbundle.ts'

/** A transaction may carry up to 12 MiB of data in base64 next to its header; more is sent in chunks. */
const MAX_TRANSACTION_BYTES = 17 << 20
/** A chunk is 256 KiB of data in base64 with its proof. */
const MAX_CHUNK_BYTES = 1 << 20
const CHUNK_BYTES = 256 * 1024
/** Storage costs nothing here, but clients want a price above nothing. */
const WINSTON_PER_CHUNK = 1_000
const CONFIRMATIONS = 100

interface Content {
  readonly id: string
  readonly tags: readonly Tag[]
  readonly bytes: number
  read(first: number, last: number): Readable
}

/** An Arweave gateway over what the units hold: transactions, chunks, data items, data by id, GraphQL. */
export class Gateway {
  readonly #units: Units
  readonly #files: WeaveFiles
  readonly #module: ModuleRecord

  constructor(units: Units, files: WeaveFiles, module: ModuleRecord) {
    this.#units = units
    this.#files = files
    this.#module = module
  }

  readonly route: Route = async exchange => {
    const { request, response, path } = exchange
    const [first = '', second = ''] = path
    const reads = request.method === 'GET' || request.method === 'HEAD'
    if (request.method === 'POST') {
      if (first === 'graphql') return answerGraphql(this.#units.ledger, this.#module, exchange)
      if (first === 'tx' && path.length === 1) return this.#post(exchange)
      if (first === 'chunk') return this.#postChunk(exchange)
      return false
    }
    if (!reads) return false
    if (first === 'info') return sendJson(response, 200, this.#info())
    if (first === 'tx_anchor') return sendText(response, 200, blockOf(heightAt(Date.now())).id)
    if (first === 'price') return this.#price(exchange, second)
    if (first === 'tx') return this.#transaction(exchange, second, path[2])
    if (first === 'chunk') return this.#chunk(exchange, Number(second))
    if (first === 'raw' && isId(second)) return this.#content(exchange, second)
    return path.length === 1 && isId(first) ? this.#content(exchange, first) : false
  }

  #info(): unknown {
    const { height, id } = blockOf(heightAt(Date.now()))
    return {
      network: 'apus.localnet',
      version: 5,
      release: 1,
      height,
      current: id,
      blocks: height + 1,
      peers: 0,
    }
  }

  #price({ response }: Exchange, bytes: string): boolean {
    if (!/^\d{1,15}$/.test(bytes))
      throw new ApusError('price-invalid', 'The path must end in a number of bytes.', { blame: 'peer' })
    return sendText(
      response,
      200,
      String(Math.max(1, Math.ceil(Number(bytes) / CHUNK_BYTES)) * WINSTON_PER_CHUNK),
    )
  }

  async #post(exchange: Exchange): Promise<boolean> {
    const { request, response } = exchange
    if (request.headers['content-type']?.startsWith('application/octet-stream')) {
      const item = await verifiedItem(await readBody(request))
      await this.#units.store(item)
      return sendJson(response, 200, { id: item.id, owner: item.owner, timestamp: Date.now() })
    }
    const { data, ...header } = await admitTransaction(await readJson(request, MAX_TRANSACTION_BYTES))
    const { ledger } = this.#units
    const content = Buffer.from(data, 'base64url')
    const bytes = Number(header.data_size)
    if (content.length > 0) await this.#files.put(header.data_root, content)
    if (ledger.transaction(header.id) === undefined) {
      const place = { root: header.data_root, bytes, height: heightAt(Date.now()) }
      const entry = { kind: 'transaction', id: header.id, ...place } as const
      ledger.commit([{ header: entry, body: Buffer.from(JSON.stringify(header)) }])
    }
    await ledger.durable()
    if (this.#files.has(header.data_root, bytes)) await this.#unbundle(header.data_root, bytes)
    return sendText(response, 200, 'OK')
  }

  async #postChunk({ request, response }: Exchange): Promise<boolean> {
    const chunk = await admitChunk(await readJson(request, MAX_CHUNK_BYTES))
    const wanted = this.#units.ledger.weave.some(
      part => part.root === chunk.root && part.bytes === chunk.bytes,
    )
    if (!wanted)
      throw new ApusError('chunk-invalid', 'No transaction commits to the data of this chunk.', {
        blame: 'peer',
      })
    if (!this.#files.has(chunk.root, chunk.bytes) && (await this.#files.putChunk(chunk)))
      await this.#unbundle(chunk.root, chunk.bytes)
    return sendText(response, 200, 'OK')
  }

  /** Stores the items of a bundle whose data has become complete. */
  async #unbundle(root: string, bytes: number): Promise<void> {
    const { ledger } = this.#units
    for (const part of ledger.weave) {
      if (part.root !== root || part.bytes !== bytes) continue
      const transaction = ledger.transaction(part.id)
      if (!transaction || tagValue(transaction.tags, 'Bundle-Format') !== 'binary') continue
      for (const item of await unbundle(this.#files.read(root, bytes, 0, bytes - 1), bytes))
        await this.#units.store(item)
    }
  }

  #transaction({ response }: Exchange, id: string, field: string | undefined): boolean {
    const { ledger } = this.#units
    const found = ledger.transaction(id)
    if (!found) {
      if (!ledger.hasItem(id) || field !== 'status') return sendText(response, 404, 'Not Found')
    } else if (field === undefined) {
      return sendJson(response, 200, found.posted)
    } else if (field === 'offset') {
      return sendJson(response, 200, { size: String(found.part.bytes), offset: String(found.part.end) })
    }
    if (field !== 'status') return sendText(response, 404, 'Not Found')
    const height = ledger.height(id)
    const status = { block_height: height, block_indep_hash: blockOf(height).id }
    return sendJson(response, 200, { ...status, number_of_confirmations: CONFIRMATIONS })
  }

  async #chunk({ response }: Exchange, offset: number): Promise<boolean> {
    const part = this.#units.ledger.weave.find(({ end, bytes }) => offset <= end && offset > end - bytes)
    if (!part || !this.#files.has(part.root, part.bytes)) return sendText(response, 404, 'Not Found')
    const first = offset - (part.end - part.bytes) - 1
    const last = Math.min(first + CHUNK_BYTES, part.bytes) - 1
    const pieces: Buffer[] = []
    for await (const piece of this.#files.read(part.root, part.bytes, first, last))
      pieces.push(piece as Buffer)
    return sendJson(response, 200, { chunk: Buffer.concat(pieces).toString('base64url') })
  }

  async #content({ request, response }: Exchange, id: string): Promise<boolean> {
    const content = this.#find(id)
    if (!content) return sendText(response, 404, 'Not Found')
    const headers: Record<string, string> = {
      'content-type': tagValue(content.tags, 'Content-Type') ?? 'application/octet-stream',
      'accept-ranges': 'bytes',
      'x-content-type-options': 'nosniff',
      etag: `"${content.id}"`,
    }
    const range = byteRange(request.headers.range, content.bytes)
    const first = range?.first ?? 0
    const last = range?.last ?? content.bytes - 1
    if (range) headers['content-range'] = `bytes ${first}-${last}/${content.bytes}`
    response.writeHead(range ? 206 : 200, { ...headers, 'content-length': last - first + 1 })
    if (request.method === 'HEAD' || content.bytes === 0) response.end()
    else await pipeline(content.read(first, last), response)
    return true
  }

  #find(id: string): Content | undefined {
    const module = this.#module
    if (id === module.id)
      return { ...module, read: (start, end) => createReadStream(module.file, { start, end }) }
    const { ledger } = this.#units
    const item = ledger.item(id)
    if (item) {
      const bytes = item.data.length
      return {
        id,
        tags: item.tags,
        bytes,
        read: (first, last) => Readable.from([item.data.subarray(first, last + 1)]),
      }
    }
    const found = ledger.transaction(id)
    if (!found || !this.#files.has(found.part.root, found.part.bytes)) return undefined
    const { root, bytes } = found.part
    return { id, tags: found.tags, bytes, read: (first, last) => this.#files.read(root, bytes, first, last) }
  }
}
