import Arweave from 'arweave'
import { ApusError } from '../kit/errors.ts'
import { type ItemSigner, signDataItem, type Tag } from './data-item.ts'
import { admitTransaction, dataRootOf, readTransaction } from './transaction.ts'
import type { Wallet } from './wallet.ts'

export interface GatewayConfig {
  /** An Arweave gateway, local or public. */
  readonly url: string
  /** Where data items are posted; the gateway's own `/tx` by default. */
  readonly uploadUrl?: string
  readonly timeoutMs?: number
}

/** Both ends included. */
export interface ByteRange {
  readonly first: number
  readonly last: number
}

export interface ReadOptions {
  readonly range?: ByteRange
  /** Bytes; larger data is refused with `too-large` while it arrives. */
  readonly limit?: number
  readonly signal?: AbortSignal
}

/** A range or a chunk on a slow line. */
const TIMEOUT_MS = 60_000

/**
 * Reads from and uploads to an Arweave gateway. Errors of every call: `arweave-unreachable`, `arweave-not-found`,
 * `arweave-refused`, `arweave-bad-answer`.
 */
export class GatewayClient {
  readonly #url: string
  readonly #uploadUrl: string
  readonly #timeoutMs: number

  constructor({ url, uploadUrl, timeoutMs = TIMEOUT_MS }: GatewayConfig) {
    this.#url = url.replace(/\/$/, '')
    this.#uploadUrl = uploadUrl ?? `${this.#url}/tx`
    this.#timeoutMs = timeoutMs
  }

  /** Size in bytes of the data behind an id. */
  async size(id: string): Promise<number> {
    const response = await this.#fetch(`/raw/${id}`, { method: 'HEAD' })
    const size = Number(response.headers.get('content-length'))
    if (!response.headers.has('content-length') || !Number.isSafeInteger(size)) throw badAnswer('a size')
    return size
  }

  /** The data behind an id, whole or a range of it; a range is checked to be the one asked for. */
  async read(
    id: string,
    { range, limit = Number.POSITIVE_INFINITY, signal }: ReadOptions = {},
  ): Promise<Uint8Array> {
    const headers: Record<string, string> = range ? { range: `bytes=${range.first}-${range.last}` } : {}
    const response = await this.#fetch(`/raw/${encodeURIComponent(id)}`, { headers, signal: signal ?? null })
    const bytes = await this.#bounded(bytesOf(response, limit))
    if (!range) return bytes
    if (response.status === 200) return ofWhole(bytes, range)
    const given = /^bytes (\d+)-(\d+)\//.exec(response.headers.get('content-range') ?? '')
    const same = Number(given?.[1]) === range.first && Number(given?.[2]) === range.last
    if (!same || bytes.length !== range.last - range.first + 1) throw badAnswer('a range')
    return bytes
  }

  /**
   * The data of an Arweave transaction, proved by its id alone: the id names the signature, the signature covers the
   * data root, the data root is that of the data. Errors also: `transaction-invalid`.
   */
  async readVerified(
    id: string,
  ): Promise<{ readonly owner: string; readonly tags: readonly Tag[]; readonly data: Uint8Array }> {
    const response = await this.#fetch(`/tx/${id}`)
    const answer = (await this.#bounded(response.json())) as object
    const posted = await admitTransaction({ ...answer, data: '' })
    const data = await this.read(id)
    if (posted.id !== id || (await dataRootOf(data)) !== posted.data_root)
      throw new ApusError(
        'transaction-invalid',
        `The gateway gave other data than the transaction ${id} commits to.`,
        {
          blame: 'peer',
        },
      )
    const { owner, tags } = readTransaction(posted)
    return { owner, tags, data }
  }

  /** Uploads data as one signed ANS-104 item and returns its id; for data up to a few megabytes. */
  async uploadItem(data: Uint8Array | string, tags: readonly Tag[], signer: ItemSigner): Promise<string> {
    const { id, raw } = await signDataItem({ data, tags }, signer)
    const headers = { 'content-type': 'application/octet-stream' }
    await this.#send(this.#uploadUrl, { method: 'POST', headers, body: Buffer.from(raw) })
    return id
  }

  /** Uploads data of any size as a transaction in chunks and returns its id; `report` is told the share done. */
  async uploadTransaction(
    data: Uint8Array,
    tags: readonly Tag[],
    wallet: Wallet,
    report: (share: number) => void = () => {},
  ): Promise<string> {
    const { protocol, hostname, port } = new URL(this.#url)
    const scheme = protocol.replace(':', '')
    const arweave = Arweave.init({
      host: hostname,
      port: port || (scheme === 'https' ? 443 : 80),
      protocol: scheme,
    })
    try {
      const transaction = await arweave.createTransaction({ data }, wallet.jwk.reveal())
      for (const { name, value } of tags) transaction.addTag(name, value)
      await arweave.transactions.sign(transaction, wallet.jwk.reveal())
      const uploader = await arweave.transactions.getUploader(transaction)
      while (!uploader.isComplete) {
        await uploader.uploadChunk()
        report(uploader.pctComplete / 100)
      }
      return transaction.id
    } catch (cause) {
      throw new ApusError('arweave-unreachable', 'The upload to the Arweave gateway failed.', {
        retry: true,
        blame: 'peer',
        cause,
      })
    }
  }

  #fetch(path: string, init: RequestInit = {}): Promise<Response> {
    return this.#send(this.#url + path, init)
  }

  async #send(url: string, init: RequestInit): Promise<Response> {
    const response = await this.#bounded(
      fetch(url, {
        ...init,
        signal: AbortSignal.any([
          AbortSignal.timeout(this.#timeoutMs),
          ...(init.signal ? [init.signal] : []),
        ]),
      }),
    )
    if (response.ok) return response
    const text = (await response.text().catch(() => '')).slice(0, 500)
    if (response.status === 404)
      throw new ApusError(
        'arweave-not-found',
        `The gateway does not hold ${new URL(url).pathname.slice(1)}.`,
        {
          blame: 'peer',
        },
      )
    if (response.status === 429 || response.status >= 500)
      throw new ApusError('arweave-unreachable', `The gateway answers with status ${response.status}.`, {
        retry: true,
        blame: 'peer',
      })
    throw new ApusError('arweave-refused', `The gateway refused the request: ${text || response.status}.`)
  }

  async #bounded<T>(work: Promise<T>): Promise<T> {
    try {
      return await work
    } catch (cause) {
      if (cause instanceof ApusError) throw cause
      throw new ApusError('arweave-unreachable', 'The Arweave gateway cannot be reached.', {
        retry: true,
        blame: 'peer',
        cause,
      })
    }
  }
}

async function bytesOf(response: Response, limit: number): Promise<Uint8Array> {
  const chunks: Uint8Array[] = []
  let size = 0
  for await (const chunk of response.body ?? []) {
    size += chunk.length
    if (size > limit)
      throw new ApusError('too-large', `The data is larger than ${limit} bytes.`, { blame: 'peer' })
    chunks.push(chunk)
  }
  return new Uint8Array(Buffer.concat(chunks))
}

const badAnswer = (what: string): ApusError =>
  new ApusError('arweave-bad-answer', `The gateway gave an answer of a wrong shape for ${what}.`, {
    blame: 'peer',
  })

/** Some gateways do not know ranges and send everything. */
function ofWhole(bytes: Uint8Array, { first, last }: ByteRange): Uint8Array {
  if (last >= bytes.length) throw badAnswer('a range')
  return bytes.subarray(first, last + 1)
}
