import { createPrivateKey, generateKeyPairSync, type KeyObject, sign } from 'node:crypto'
import { mkdirSync, readFileSync, writeFileSync } from 'node:fs'
import { dirname } from 'node:path'
import { addressOf, type SyncItemSigner } from '@apus/shared/arweave'
import { ApusError } from '@apus/shared/kit'

/** The key of the units: their one address is scheduler and authority at once. */
export interface UnitKey extends SyncItemSigner {
  readonly address: string
}

/**
 * Reads the units' Ed25519 key, or makes one in a file that only its owner may read. Errors: `wallet-invalid`.
 * Ed25519 because every scheduled message is signed once and RSA-4096 takes fifty times as long.
 */
export function openUnitKey(path: string): UnitKey {
  const existing = read(path)
  if (existing !== undefined) return unitKeyOf(parse(existing, path))
  const { privateKey } = generateKeyPairSync('ed25519')
  mkdirSync(dirname(path), { recursive: true })
  const text = JSON.stringify(privateKey.export({ format: 'jwk' }))
  writeFileSync(path, text, { mode: 0o600, flag: 'wx', flush: true })
  return unitKeyOf(privateKey)
}

function read(path: string): string | undefined {
  try {
    return readFileSync(path, 'utf8')
  } catch (cause) {
    if ((cause as NodeJS.ErrnoException).code === 'ENOENT') return undefined
    throw new ApusError('wallet-invalid', `The key of the AO units in ${path} cannot be read.`, { cause })
  }
}

function parse(text: string, path: string): KeyObject {
  try {
    const key = createPrivateKey({ key: JSON.parse(text), format: 'jwk' })
    if (key.asymmetricKeyType === 'ed25519') return key
  } catch {
    // The cause may quote key material, so it goes no further.
  }
  throw new ApusError('wallet-invalid', `${path} does not hold an Ed25519 private key (JWK).`)
}

function unitKeyOf(key: KeyObject): UnitKey {
  const { x = '' } = key.export({ format: 'jwk' })
  const publicKey = Buffer.from(x, 'base64url')
  return { type: 2, publicKey, address: addressOf(publicKey), sign: message => sign(null, message, key) }
}
