import type { Wallet } from '@apus/shared/arweave'
import { signDataItem } from '../../../shared/src/arweave/data-item.ts'

/** A message to a process as a wallet signs it, as proof files carry it. */
export async function signedBy(
  wallet: Wallet,
  target: string,
  named: Readonly<Record<string, string>>,
  data = ' ',
) {
  const tags = Object.entries(named).map(([name, value]) => ({ name, value }))
  const { raw } = await signDataItem({ target, tags, data }, wallet)
  const signature = Buffer.from(raw.subarray(2, 2 + 512)).toString('base64url')
  return { tags, signature, data }
}

/** The public key as proof files name it. */
export const keyOf = ({ publicKey }: Wallet): string => Buffer.from(publicKey).toString('base64url')
