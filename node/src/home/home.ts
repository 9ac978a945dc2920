import { randomBytes } from 'node:crypto'
import { mkdir } from 'node:fs/promises'
import { homedir } from 'node:os'
import { join, resolve } from 'node:path'
import { createWallet, loadWallet, saveWallet, type Wallet } from '@apus/shared/arweave'
import {
  ApusError,
  errorCode,
  readConfig,
  readConfigFile,
  readKeyFile,
  writeKeyFile,
  writeNew,
} from '@apus/shared/kit'
import { NODE_KEY_BYTES, type NodeKey, nodeKey } from '@apus/shared/p2p'
import { type Settings, settingsSchema } from './settings.ts'

const SETTINGS_FILE = 'config.json'
const KEY_FILE = 'node.key'

/** A miner's folder: settings, wallet, node key, journal and answers. */
export interface Home {
  readonly path: string
  readonly journal: string
  readonly answers: string
  readonly leaves: string
  /** Socket on which the running miner listens, so that there is only one. */
  readonly lock: string
}

/** The home at a path, `~/.apus` when none is given. */
export function homeAt(path: string | undefined): Home {
  const folder = path === undefined ? join(homedir(), '.apus') : resolve(path)
  return {
    path: folder,
    journal: join(folder, 'journal.log'),
    answers: join(folder, 'answers'),
    leaves: join(folder, 'evidence'),
    lock: join(folder, 'miner.sock'),
  }
}

/** Makes the folder, readable by its owner only. */
export async function createHome(home: Home): Promise<void> {
  await mkdir(home.path, { recursive: true, mode: 0o700 })
}

/** Errors: `home-missing`, `config-invalid` naming every fault at once. */
export async function readSettings(home: Home): Promise<Settings> {
  const path = join(home.path, SETTINGS_FILE)
  try {
    return await readConfigFile(settingsSchema, path)
  } catch (cause) {
    if (errorCode(cause) !== 'config-missing') throw cause
    throw new ApusError('home-missing', `There are no settings at ${path}; run "apus-node init" first.`, {
      cause,
    })
  }
}

/** Writes new settings after checking them. Errors: `config-invalid`, `home-exists`. */
export async function writeSettings(home: Home, values: unknown): Promise<Settings> {
  const settings = readConfig(settingsSchema, values)
  const path = join(home.path, SETTINGS_FILE)
  await writeNew(
    path,
    `${JSON.stringify(values, null, 2)}\n`,
    'home-exists',
    `The file ${path} exists and is never overwritten.`,
  )
  return settings
}

/** The wallet that the settings name. Errors: `wallet-missing`, `wallet-invalid`. */
export const readWallet = (home: Home, settings: Settings): Promise<Wallet> =>
  loadWallet(resolve(home.path, settings.wallet))

/** Keeps the wallet given, or a new one. Errors: `wallet-exists`. */
export async function keepWallet(home: Home, settings: Settings, wallet?: Wallet): Promise<Wallet> {
  const kept = wallet ?? (await createWallet())
  await saveWallet(kept, resolve(home.path, settings.wallet))
  return kept
}

/** Errors: `key-missing`, `key-invalid`. */
export async function readNodeKey(home: Home): Promise<NodeKey> {
  const path = join(home.path, KEY_FILE)
  const seed = await readKeyFile(path)
  if (seed === undefined)
    throw new ApusError('key-missing', `There is no node key ${path}; restore it from your backup.`)
  return nodeKey(seed)
}

/** Keeps the seed given, or a new one. Errors: `key-exists`. */
export async function keepNodeKey(
  home: Home,
  seed: Uint8Array = randomBytes(NODE_KEY_BYTES),
): Promise<NodeKey> {
  const key = nodeKey(seed)
  await writeKeyFile(join(home.path, KEY_FILE), seed)
  return key
}
