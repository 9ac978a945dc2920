import {
  constants,
  createHash,
  createPrivateKey,
  createPublicKey,
  generateKeyPair,
  type JsonWebKey,
  type KeyObject,
  sign,
  verify,
} from 'node:crypto'
import { open, readFile } from 'node:fs/promises'
import { promisify } from 'node:util'
import { z } from 'zod'
import { Secret } from '../kit/config.ts'
import { ApusError } from '../kit/errors.ts'
import { addressOf, type ItemSigner } from './data-item.ts'

const base64url = z.string().regex(/^[A-Za-z0-9_-]+$/)
const jwkSchema = z.object({
  kty: z.literal('RSA'),
  n: base64url,
  e: z.literal('AQAB'),
  d: base64url,
  p: base64url,
  q: base64url,
  dp: base64url,
  dq: base64url,
  qi: base64url,
})

/** An Arweave wallet: an RSA-4096 private key as JWK. */
export type Jwk = z.infer<typeof jwkSchema>

/** Arweave accepts RSA keys of this size only. */
const MODULUS_BITS = 4096
const generate = promisify(generateKeyPair)
const signAsync = promisify(sign)

/** A wallet that signs; the private key never prints. */
export interface Wallet extends ItemSigner {
  readonly type: 1
  readonly address: string
  readonly jwk: Secret<Jwk>
}

/** The wallet of a private key. Errors: `wallet-invalid`. */
export function walletOf(value: unknown): Wallet {
  const parsed = jwkSchema.safeParse(value)
  if (!parsed.success)
    throw new ApusError(
      'wallet-invalid',
      'The wallet is not an Arweave private key (RSA JWK with n, e, d, p, q, dp, dq, qi).',
    )
  const jwk = parsed.data
  const publicKey = Buffer.from(jwk.n, 'base64url')
  if (publicKey.length * 8 !== MODULUS_BITS)
    throw new ApusError(
      'wallet-invalid',
      `The wallet's key has ${publicKey.length * 8} bits; Arweave wallets have ${MODULUS_BITS}.`,
    )
  const key = privateKeyOf(jwk)
  return {
    type: 1,
    publicKey,
    address: addressOf(publicKey),
    jwk: new Secret(jwk),
    sign: message => signAsync('sha256', message, { key, padding: constants.RSA_PKCS1_PSS_PADDING }),
  }
}

/** Parts that do not belong together only show when the key is used, so it signs once. */
function privateKeyOf(jwk: Jwk): KeyObject {
  const probe = Buffer.from('apus')
  try {
    const key = createPrivateKey({ key: { ...jwk } satisfies JsonWebKey, format: 'jwk' })
    const own = createPublicKey({ key: { kty: 'RSA', n: jwk.n, e: jwk.e }, format: 'jwk' })
    if (verify('sha256', probe, own, sign('sha256', probe, key))) return key
  } catch {
    // The cause may quote key material, so it goes no further.
  }
  throw new ApusError('wallet-invalid', 'The wallet holds a damaged private key.')
}

/** Reads a wallet file (JWK in JSON). Errors: `wallet-missing`, `wallet-invalid`. */
export async function loadWallet(path: string): Promise<Wallet> {
  let text: string
  try {
    text = await readFile(path, 'utf8')
  } catch (cause) {
    throw new ApusError('wallet-missing', `The wallet file ${path} cannot be read.`, { cause })
  }
  let value: unknown
  try {
    value = JSON.parse(text)
  } catch {
    throw new ApusError('wallet-invalid', `The wallet file ${path} is not JSON.`)
  }
  return walletOf(value)
}

/** A new wallet; making the key takes about a second. */
export async function createWallet(): Promise<Wallet> {
  const { privateKey } = await generate('rsa', { modulusLength: MODULUS_BITS, publicExponent: 0x10001 })
  return walletOf(privateKey.export({ format: 'jwk' }))
}

/** Writes a wallet to a new file that only its owner may read. Errors: `wallet-exists`. */
export async function saveWallet(wallet: Wallet, path: string): Promise<void> {
  const file = await open(path, 'wx', 0o600).catch(cause => {
    throw new ApusError(
      'wallet-exists',
      `The wallet file ${path} cannot be created; an existing one is never overwritten.`,
      { cause },
    )
  })
  try {
    await file.writeFile(JSON.stringify(wallet.jwk.reveal()))
    await file.sync()
  } finally {
    await file.close()
  }
}

/** The address of a wallet key: base64url SHA-256 of its modulus. */
export function walletAddress(jwk: { readonly n: string }): string {
  return createHash('sha256').update(Buffer.from(jwk.n, 'base64url')).digest('base64url')
}
