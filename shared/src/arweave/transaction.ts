import { createHash } from 'node:crypto'
import Arweave from 'arweave'
import { generateTransactionChunks, validatePath } from 'arweave/node/lib/merkle.js'
import { z } from 'zod'
import { ApusError } from '../kit/errors.ts'
import { addressOf, type Tag, verifySignature } from './data-item.ts'

const text = (encoded: string): string => Buffer.from(encoded, 'base64url').toString()
const base64url = z.string().regex(/^[A-Za-z0-9_-]*$/)
const decimal = z.coerce.string().regex(/^\d{1,16}$/)

/** A version 2 Arweave transaction as clients post it. */
const postedSchema = z.object({
  format: z.literal(2),
  id: base64url.length(43),
  last_tx: base64url,
  owner: base64url,
  tags: z.array(z.object({ name: base64url, value: base64url })).max(128),
  target: base64url,
  quantity: z.string().regex(/^\d+$/),
  data_root: base64url,
  data_size: decimal,
  data: base64url.default(''),
  reward: z.string().regex(/^\d+$/),
  signature: base64url,
})

export type PostedTransaction = z.infer<typeof postedSchema>

const arweave = Arweave.init({})
const invalid = (reason: string): ApusError =>
  new ApusError('transaction-invalid', `The transaction was refused: ${reason}.`, { blame: 'peer' })

/**
 * Checks a posted transaction: shape, id, signature, and that data sent along is what it commits to.
 * Errors: `transaction-invalid`.
 */
export async function admitTransaction(value: unknown): Promise<PostedTransaction> {
  const posted = postedSchema.safeParse(value)
  if (!posted.success) throw invalid(z.prettifyError(posted.error))
  const { id, owner, signature } = posted.data
  const signatureBytes = Buffer.from(signature, 'base64url')
  const signed = await arweave.transactions.fromRaw({ ...posted.data, data: '' }).getSignatureData()
  const idHolds = createHash('sha256').update(signatureBytes).digest('base64url') === id
  if (!idHolds || !(await verifySignature(1, Buffer.from(owner, 'base64url'), signed, signatureBytes)))
    throw invalid('its id or signature is wrong')
  const data = Buffer.from(posted.data.data, 'base64url')
  if (data.length > 0) {
    const same =
      data.length === Number(posted.data.data_size) && (await dataRootOf(data)) === posted.data.data_root
    if (!same) throw invalid('its data is not what it commits to')
  }
  return posted.data
}

/** The Merkle root by which a transaction commits to its data. */
export async function dataRootOf(data: Uint8Array): Promise<string> {
  if (data.length === 0) return ''
  const { data_root: root } = await generateTransactionChunks(data)
  return Buffer.from(root).toString('base64url')
}

/** A transaction with readable tags, and the owner's address in place of the key. */
export function readTransaction(
  posted: PostedTransaction,
): Omit<PostedTransaction, 'tags'> & { readonly tags: readonly Tag[] } {
  const tags = posted.tags.map(({ name, value }) => ({ name: text(name), value: text(value) }))
  return { ...posted, owner: addressOf(Buffer.from(posted.owner, 'base64url')), tags }
}

const chunkSchema = z.object({
  data_root: base64url,
  data_size: z.coerce.number().int().positive(),
  data_path: base64url,
  offset: z.coerce.number().int().nonnegative(),
  chunk: base64url,
})

/** A piece of transaction data whose place is proved: it begins at byte `left` of the data. */
export interface ProvedChunk {
  readonly root: string
  readonly bytes: number
  readonly left: number
  readonly content: Uint8Array
}

const invalidChunk = (reason: string): ApusError =>
  new ApusError('chunk-invalid', `The chunk was refused: ${reason}.`, { blame: 'peer' })

/** Checks a posted chunk against its data root. Errors: `chunk-invalid`. */
export async function admitChunk(value: unknown): Promise<ProvedChunk> {
  const parsed = chunkSchema.safeParse(value)
  if (!parsed.success) throw invalidChunk(z.prettifyError(parsed.error))
  const { data_root: root, data_size: bytes, offset } = parsed.data
  const content = Buffer.from(parsed.data.chunk, 'base64url')
  const path = Buffer.from(parsed.data.data_path, 'base64url')
  if (offset >= bytes) throw invalidChunk('its offset lies outside the data')
  const rootBytes = new Uint8Array(Buffer.from(root, 'base64url'))
  const place = await validatePath(rootBytes, offset, 0, bytes, new Uint8Array(path)).catch(
    () => false as const,
  )
  if (!place || place.chunkSize !== content.length)
    throw invalidChunk('its path does not lead to the data root')
  // The leaf at the end of a path is the SHA-256 of the chunk and, in 32 bytes more, where the chunk ends.
  const digest = createHash('sha256').update(content).digest()
  if (!digest.equals(path.subarray(-64, -32))) throw invalidChunk('its bytes are not those of its path')
  return { root, bytes, left: place.leftBound, content }
}
