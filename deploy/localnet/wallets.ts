import { existsSync, mkdirSync } from 'node:fs'
import { join } from 'node:path'
import { createWallet, loadWallet, saveWallet, type Wallet } from '@apus/shared/arweave'

/** The wallet of that name in a folder, made when missing (a second of work: 4096-bit RSA). */
export async function ensureWallet(dir: string, name: string): Promise<Wallet> {
  mkdirSync(dir, { recursive: true })
  const path = join(dir, `${name}.json`)
  if (existsSync(path)) return loadWallet(path)
  const wallet = await createWallet()
  await saveWallet(wallet, path)
  return wallet
}
