import { constants, createHash, createPublicKey, type KeyObject, verify } from 'node:crypto'
import { promisify } from 'node:util'
import { createData, DataItem, MAX_TAG_BYTES } from 'arbundles'
import { ApusError } from '../kit/errors.ts'
import { deepHash } from './deep-hash.ts'

export interface Tag {
  readonly name: string
  readonly value: string
}

export interface DataItemFields {
  /** 43-character base64url address, or absent. */
  readonly target?: string | undefined
  /** Exactly 32 bytes of text, or absent. */
  readonly anchor?: string | undefined
  readonly tags: readonly Tag[]
  readonly data: string | Uint8Array
}

/** ANS-104 signature type 1 is RSA-PSS (Arweave wallets), 2 is Ed25519. */
export type ItemKeyType = 1 | 2

interface ItemKey {
  readonly type: ItemKeyType
  /** As ANS-104 writes it: the RSA modulus, or the Ed25519 point. */
  readonly publicKey: Uint8Array
}

export interface ItemSigner extends ItemKey {
  sign(message: Uint8Array): Promise<Uint8Array>
}

export interface SyncItemSigner extends ItemKey {
  sign(message: Uint8Array): Uint8Array
}

export interface SignedItem {
  /** base64url SHA-256 of the signature. */
  readonly id: string
  readonly raw: Uint8Array
}

export interface ParsedItem extends SignedItem {
  /** Address of the signer: base64url SHA-256 of the public key. */
  readonly owner: string
  /** Its public key, base64url. */
  readonly ownerKey: string
  readonly target: string
  readonly anchor: string
  readonly tags: readonly Tag[]
  readonly data: Uint8Array
  readonly signature: string
}

const LENGTHS = {
  1: { signatureLength: 512, ownerLength: 512 },
  2: { signatureLength: 64, ownerLength: 32 },
} as const

/** Public keys turned into key objects; as many wallets as one process commonly meets. */
const KEY_CACHE_SIZE = 256
const keys = new Map<string, KeyObject>()
const verifyAsync = promisify(verify)

const sha256 = (bytes: Uint8Array): Buffer => createHash('sha256').update(bytes).digest()

/** The address of a public key, as Arweave and AO write it (43 characters). */
export const addressOf = (publicKey: Uint8Array): string => sha256(publicKey).toString('base64url')

interface Unsigned {
  readonly item: DataItem
  readonly message: Uint8Array
}

function unsigned(fields: DataItemFields, signer: ItemKey): Unsigned {
  const meta = {
    signatureType: signer.type,
    ...LENGTHS[signer.type],
    publicKey: Buffer.from(signer.publicKey),
  }
  const item = created(() =>
    createData(fields.data, meta as never, {
      tags: fields.tags.map(({ name, value }) => ({ name, value })),
      ...(fields.target ? { target: fields.target } : {}),
      ...(fields.anchor ? { anchor: fields.anchor } : {}),
    }),
  )
  return { item, message: signedMessage(item, signer.type) }
}

function created(create: () => DataItem): DataItem {
  try {
    return create()
  } catch (cause) {
    const reason = cause instanceof Error ? cause.message : String(cause)
    throw new ApusError('message-unsendable', `No data item can hold this message: ${reason}.`, { cause })
  }
}

const signedMessage = (item: DataItem, type: ItemKeyType): Uint8Array =>
  deepHash([
    Buffer.from('dataitem'),
    Buffer.from('1'),
    Buffer.from(String(type)),
    item.rawOwner,
    item.rawTarget,
    item.rawAnchor,
    item.rawTags,
    item.rawData,
  ])

function finished(item: DataItem, signature: Uint8Array): SignedItem {
  const raw = item.getRaw()
  raw.set(signature, 2)
  return { id: sha256(signature).toString('base64url'), raw }
}

/** A signed ANS-104 data item. Errors: `message-unsendable`, as when its tags have more than 4096 bytes together. */
export async function signDataItem(fields: DataItemFields, signer: ItemSigner): Promise<SignedItem> {
  const { item, message } = unsigned(fields, signer)
  return finished(item, await signer.sign(message))
}

/** Like `signDataItem`, for a signer that answers at once. */
export function signDataItemSync(fields: DataItemFields, signer: SyncItemSigner): SignedItem {
  const { item, message } = unsigned(fields, signer)
  return finished(item, signer.sign(message))
}

const invalid = (reason: string, cause?: unknown): ApusError =>
  new ApusError('data-item-invalid', `The bytes are not a valid ANS-104 data item: ${reason}.`, {
    blame: 'peer',
    cause,
  })

/**
 * Reads an ANS-104 item without checking its signature. Errors: `data-item-invalid`.
 * The tag count and presence bytes are outside the signature, so anything but their one canonical form is refused:
 * otherwise a relay could change what a signed item says.
 */
export function parseDataItem(raw: Uint8Array): ParsedItem {
  const bytes = Buffer.from(raw.buffer, raw.byteOffset, raw.byteLength)
  const type = bytes.length > 2 ? bytes.readUInt16LE(0) : 0
  if (type !== 1 && type !== 2) throw invalid('its signature type is not 1 (RSA) or 2 (Ed25519)')
  const { signatureLength, ownerLength } = LENGTHS[type]
  let at = 2 + signatureLength + ownerLength
  for (const field of ['target', 'anchor']) {
    const present = bytes[at]
    if (present !== 0 && present !== 1) throw invalid(`it has no readable ${field}`)
    at += present === 1 ? 33 : 1
  }
  if (bytes.length < at + 16) throw invalid('it ends too early')
  const count = bytes.readBigUInt64LE(at)
  const tagBytes = bytes.readBigUInt64LE(at + 8)
  if (tagBytes > BigInt(MAX_TAG_BYTES) || BigInt(bytes.length - at - 16) < tagBytes)
    throw invalid('its tags do not fit')
  if ((count === 0n) !== (tagBytes === 0n)) throw invalid('its tag count is wrong')
  const item = new DataItem(bytes)
  let tags: readonly Tag[]
  try {
    tags = item.tags
  } catch (cause) {
    throw invalid('its tags cannot be decoded', cause)
  }
  if (BigInt(tags.length) !== count) throw invalid('its tag count is wrong')
  return {
    id: item.id,
    raw: bytes,
    owner: addressOf(item.rawOwner),
    ownerKey: item.owner,
    target: item.target,
    anchor: item.rawAnchor.toString(),
    tags,
    data: item.rawData,
    signature: item.signature,
  }
}

/** Whether the item carries a valid signature of its owner; RSA work runs off the calling thread. */
export async function verifyDataItem({ raw }: Pick<ParsedItem, 'raw'>): Promise<boolean> {
  const item = new DataItem(Buffer.from(raw.buffer, raw.byteOffset, raw.byteLength))
  const type = item.signatureType as ItemKeyType
  const message = signedMessage(item, type)
  return verifySignature(type, item.rawOwner, message, item.rawSignature)
}

/** Whether these are the fields of an item that the owner of a public key (RSA modulus or Ed25519 point) has signed. */
export async function verifyItemFields(
  fields: DataItemFields,
  publicKey: Uint8Array,
  signature: Uint8Array,
): Promise<boolean> {
  const type = ([1, 2] as const).find(type => LENGTHS[type].ownerLength === publicKey.length)
  if (type === undefined) return false
  let message: Uint8Array
  try {
    message = unsigned(fields, { type, publicKey }).message
  } catch {
    return false
  }
  return verifySignature(type, publicKey, message, signature)
}

/** Whether a signature over a message is that of an RSA-PSS (1) or Ed25519 (2) public key. */
export async function verifySignature(
  type: ItemKeyType,
  publicKey: Uint8Array,
  message: Uint8Array,
  signature: Uint8Array,
): Promise<boolean> {
  try {
    const key = publicKeyOf(publicKey, type)
    if (type === 2) return await verifyAsync(null, message, key, signature)
    const padding = { padding: constants.RSA_PKCS1_PSS_PADDING, saltLength: constants.RSA_PSS_SALTLEN_AUTO }
    return await verifyAsync('sha256', message, { key, ...padding }, signature)
  } catch {
    return false
  }
}

function publicKeyOf(owner: Uint8Array, type: ItemKeyType): KeyObject {
  const text = Buffer.from(owner).toString('base64url')
  const known = keys.get(text)
  if (known) return known
  const jwk = type === 1 ? { kty: 'RSA', n: text, e: 'AQAB' } : { kty: 'OKP', crv: 'Ed25519', x: text }
  const key = createPublicKey({ key: jwk, format: 'jwk' })
  const oldest = keys.size >= KEY_CACHE_SIZE ? keys.keys().next().value : undefined
  if (oldest !== undefined) keys.delete(oldest)
  keys.set(text, key)
  return key
}
