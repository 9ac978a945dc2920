import { createPublicKey, verify } from 'node:crypto'
import { peerIdFromString } from '@libp2p/peer-id'
import { z } from 'zod'
import { decodeCanonical, encodeCanonical } from '../hashing/canonical.ts'
import { toBase64Url } from '../hashing/digest.ts'
import { ApusError } from '../kit/errors.ts'
import {
  type Address,
  address,
  bindingStatement,
  type Digest,
  digestText,
  type JobId,
  jobId,
  type PeerBinding,
  type ProcessId,
  processId,
} from './identity.ts'

/** A signed commitment is about 340 bytes; anything above this is refused before it is decoded. */
export const MAX_COMMITMENT_BYTES = 1024

/** What a node key says of a commitment: this miner's seat in this job holds this commitment. */
export interface SeatCommitment {
  readonly network: ProcessId
  readonly job: JobId
  readonly miner: Address
  readonly commitment: Digest
  /** libp2p peer id whose key signs: the one the network has registered for the miner. */
  readonly peer: string
}

/** Proves by itself who said it, so anybody may relay it, keep it and show it as evidence. */
export interface SignedCommitment extends SeatCommitment {
  /** Ed25519 over the statement's canonical bytes, 64 bytes. */
  readonly signature: Uint8Array
}

/** Signs bytes with a node key; returns 64 bytes. */
export type Sign = (bytes: Uint8Array) => Uint8Array

const formOf = (s: SeatCommitment) => ({
  v: 1,
  d: 'apus/commitment',
  n: s.network,
  j: s.job,
  m: s.miner,
  c: s.commitment,
  p: s.peer,
})

const statementForm = z.strictObject({
  v: z.literal(1),
  d: z.literal('apus/commitment'),
  n: processId,
  j: jobId,
  m: address,
  c: digestText,
  p: z.string().max(64),
})
const wireForm = statementForm.extend({
  s: z.instanceof(Uint8Array).refine(s => s.length === 64),
})

const fromForm = ({ n, j, m, c, p }: z.output<typeof statementForm>): SeatCommitment => ({
  network: n,
  job: j,
  miner: m,
  commitment: c,
  peer: p,
})

/** The bytes that a node key signs. */
export const commitmentBytes = (s: SeatCommitment): Uint8Array => encodeCanonical(formOf(s))

/** What the bytes that a node key signed say; undefined when they are no statement of a commitment. */
export function readCommitmentBytes(bytes: Uint8Array): SeatCommitment | undefined {
  if (bytes.length > MAX_COMMITMENT_BYTES) return undefined
  try {
    const read = statementForm.safeParse(decodeCanonical(bytes))
    return read.success ? fromForm(read.data) : undefined
  } catch {
    return undefined
  }
}

export const signCommitment = (commitment: SeatCommitment, sign: Sign): SignedCommitment => ({
  ...commitment,
  signature: sign(commitmentBytes(commitment)),
})

/** True when the statement's own peer signed it. Whether that peer speaks for the miner is the network's to say. */
export const verifyCommitment = (s: SignedCommitment): boolean =>
  verifyPeerSignature(s.peer, commitmentBytes(s), s.signature)

/** The bytes that travel: the statement and its signature as one canonical map. */
export const encodeCommitment = (s: SignedCommitment): Uint8Array =>
  encodeCanonical({ ...formOf(s), s: s.signature })

/**
 * Reads what `encodeCommitment` wrote. Errors: `too-large`, `not-canonical`, `statement-invalid`. The signature is not
 * checked here.
 */
export function decodeCommitment(bytes: Uint8Array): SignedCommitment {
  if (bytes.length > MAX_COMMITMENT_BYTES)
    throw new ApusError('too-large', 'The commitment is larger than one can be.', { blame: 'peer' })
  const read = wireForm.safeParse(decodeCanonical(bytes))
  if (!read.success)
    throw new ApusError('statement-invalid', 'The bytes are not a signed commitment.', {
      blame: 'peer',
      cause: read.error,
    })
  return { ...fromForm(read.data), signature: read.data.s }
}

/** The node's half of a wallet↔peer binding: `Node-Signature` of Register, base64url of 64 bytes. */
export const signBinding = (binding: PeerBinding, sign: Sign): string =>
  toBase64Url(sign(encodeCanonical(bindingStatement(binding))))

export const verifyBinding = (binding: PeerBinding, nodeSignature: string): boolean =>
  verifyPeerSignature(
    binding.peer,
    encodeCanonical(bindingStatement(binding)),
    Buffer.from(nodeSignature, 'base64url'),
  )

/** Y-coordinates of the points of small order, little-endian: signatures of such a key can be made by anybody. */
const SMALL_ORDER: ReadonlySet<string> = new Set([
  '0000000000000000000000000000000000000000000000000000000000000000',
  '0100000000000000000000000000000000000000000000000000000000000000',
  'ecffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f',
  '26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc05',
  'c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac037a',
])
/** Coordinates from here up are no canonical ones: 2^255 − 19 and more. */
const FIELD = Buffer.from('edffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f', 'hex')

/** Whether a point is one that the contract takes as a key: canonical, and not of small order. */
function isKey(point: Uint8Array): boolean {
  const y = Buffer.from(point)
  y.writeUInt8(y.readUInt8(31) & 0x7f, 31)
  return !SMALL_ORDER.has(y.toString('hex')) && Buffer.compare(y.toReversed(), FIELD.toReversed()) < 0
}

/** Verifies an Ed25519 signature against the key inside a peer id; false for any other kind of id, and for weak keys. */
export function verifyPeerSignature(peer: string, bytes: Uint8Array, signature: Uint8Array): boolean {
  const key = peerKey(peer)
  return key !== undefined && signature.length === 64 && verify(null, bytes, key, signature)
}

function peerKey(peer: string) {
  try {
    const id = peerIdFromString(peer)
    if (id.type !== 'Ed25519' || id.toString() !== peer || !isKey(id.publicKey.raw)) return undefined
    const jwk = { kty: 'OKP', crv: 'Ed25519', x: toBase64Url(id.publicKey.raw) }
    return createPublicKey({ key: jwk, format: 'jwk' })
  } catch {
    return undefined
  }
}
