import { createCipheriv, createDecipheriv, randomBytes, scryptSync } from 'node:crypto'
import { readFile } from 'node:fs/promises'
import { type Wallet, walletOf } from '@apus/shared/arweave'
import { ApusError, readConfig, writeNew } from '@apus/shared/kit'
import type { NodeKey } from '@apus/shared/p2p'
import { z } from 'zod'

/** Work of one guess at a passphrase: 128 MB and about half a second. */
const SCRYPT = { N: 2 ** 17, r: 8, p: 1, maxmem: 256 * 1024 * 1024 }
const SALT_BYTES = 16
const IV_BYTES = 12

const secretsSchema = z.strictObject({
  wallet: z.unknown(),
  nodeKey: z.string(),
  settings: z.record(z.string(), z.unknown()),
})

const fileSchema = z.discriminatedUnion('kind', [
  z.strictObject({ kind: z.literal('apus-miner-backup'), v: z.literal(1), secrets: secretsSchema }),
  z.strictObject({
    kind: z.literal('apus-miner-backup-encrypted'),
    v: z.literal(1),
    salt: z.string(),
    iv: z.string(),
    tag: z.string(),
    text: z.string(),
  }),
])

/** Everything that makes a miner itself: whoever has this file has its stake. */
export interface Backup {
  readonly wallet: Wallet
  readonly nodeKey: Uint8Array
  readonly settings: Readonly<Record<string, unknown>>
}

/** Writes one file, encrypted when a passphrase is given. Errors: `backup-exists`. */
export async function writeBackup(
  path: string,
  miner: {
    readonly wallet: Wallet
    readonly key: NodeKey
    readonly settings: Readonly<Record<string, unknown>>
  },
  passphrase: string | undefined,
): Promise<void> {
  const secrets = {
    wallet: miner.wallet.jwk.reveal(),
    nodeKey: Buffer.from(miner.key.seed.reveal()).toString('base64url'),
    settings: miner.settings,
  }
  const file =
    passphrase === undefined
      ? { kind: 'apus-miner-backup', v: 1, secrets }
      : { kind: 'apus-miner-backup-encrypted', v: 1, ...encrypt(JSON.stringify(secrets), passphrase) }
  await writeNew(
    path,
    `${JSON.stringify(file, null, 2)}\n`,
    'backup-exists',
    `The backup ${path} cannot be written, or a file of this name exists.`,
  )
}

/** Errors: `backup-missing`, `backup-invalid`, `passphrase-needed`, `passphrase-wrong`, `wallet-invalid`. */
export async function readBackup(path: string, passphrase: string | undefined): Promise<Backup> {
  const file = fileSchema.safeParse(parse(await readText(path)))
  if (!file.success)
    throw new ApusError('backup-invalid', `The file ${path} is not a backup of a miner.`, {
      cause: file.error,
    })
  const secrets = readConfig(
    secretsSchema,
    file.data.kind === 'apus-miner-backup' ? file.data.secrets : parse(decrypt(file.data, passphrase)),
  )
  return {
    wallet: walletOf(secrets.wallet),
    nodeKey: new Uint8Array(Buffer.from(secrets.nodeKey, 'base64url')),
    settings: secrets.settings,
  }
}

async function readText(path: string): Promise<string> {
  try {
    return await readFile(path, 'utf8')
  } catch (cause) {
    throw new ApusError('backup-missing', `The backup ${path} cannot be read.`, { cause })
  }
}

function parse(text: string): unknown {
  try {
    return JSON.parse(text)
  } catch {
    return undefined
  }
}

function encrypt(text: string, passphrase: string) {
  const salt = randomBytes(SALT_BYTES)
  const iv = randomBytes(IV_BYTES)
  const cipher = createCipheriv('aes-256-gcm', scryptSync(passphrase, salt, 32, SCRYPT), iv)
  const hidden = Buffer.concat([cipher.update(text, 'utf8'), cipher.final()])
  const base64 = (b: Buffer) => b.toString('base64')
  return { salt: base64(salt), iv: base64(iv), tag: base64(cipher.getAuthTag()), text: base64(hidden) }
}

function decrypt(
  file: { readonly salt: string; readonly iv: string; readonly tag: string; readonly text: string },
  passphrase: string | undefined,
): string {
  if (passphrase === undefined)
    throw new ApusError('passphrase-needed', 'The backup is encrypted; give its passphrase.')
  const bytes = (s: string) => Buffer.from(s, 'base64')
  try {
    const key = scryptSync(passphrase, bytes(file.salt), 32, SCRYPT)
    const decipher = createDecipheriv('aes-256-gcm', key, bytes(file.iv))
    decipher.setAuthTag(bytes(file.tag))
    return Buffer.concat([decipher.update(bytes(file.text)), decipher.final()]).toString('utf8')
  } catch (cause) {
    throw new ApusError('passphrase-wrong', 'The passphrase does not open the backup.', { cause })
  }
}
