import { createPrivateKey, createPublicKey, type KeyObject, sign } from 'node:crypto'
import { publicKeyFromRaw } from '@libp2p/crypto/keys'
import { peerIdFromPublicKey } from '@libp2p/peer-id'
import { Secret } from '../kit/config.ts'
import { ApusError } from '../kit/errors.ts'
import type { Sign } from '../protocol/signed-commitment.ts'

export const NODE_KEY_BYTES = 32

/** DER head of a PKCS #8 Ed25519 private key (RFC 8410); the 32-byte seed follows. */
const PKCS8_HEAD = Buffer.from('302e020100300506032b657004220420', 'hex')

/** A node's Ed25519 identity. */
export interface NodeKey {
  /** libp2p peer id, `12D3Koo…`. */
  readonly peer: string
  readonly seed: Secret<Uint8Array>
  readonly sign: Sign
}

/** The node key of a 32-byte seed. Errors: `key-invalid`. */
export function nodeKey(seed: Uint8Array): NodeKey {
  if (seed.length !== NODE_KEY_BYTES)
    throw new ApusError('key-invalid', `A node key is ${NODE_KEY_BYTES} bytes, not ${seed.length}.`)
  const key = createPrivateKey({ key: Buffer.concat([PKCS8_HEAD, seed]), format: 'der', type: 'pkcs8' })
  return {
    peer: peerIdFromPublicKey(publicKeyFromRaw(rawPublicKey(key))).toString(),
    seed: new Secret(Uint8Array.from(seed)),
    sign: bytes => new Uint8Array(sign(null, bytes, key)),
  }
}

function rawPublicKey(key: KeyObject): Uint8Array {
  const { x } = createPublicKey(key).export({ format: 'jwk' })
  return new Uint8Array(Buffer.from(x ?? '', 'base64url'))
}
