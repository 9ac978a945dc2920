import type { Readable } from 'node:stream'
import { type ParsedItem, parseDataItem, verifyDataItem } from '@apus/shared/arweave'
import { unbundleData } from 'arbundles'
import { MAX_MESSAGE_BYTES } from './http.ts'

/** Larger bundles stay readable as a whole, but their items are not looked up one by one. */
const MAX_BUNDLE_BYTES = 64 << 20

/** The validly signed items of an ANS-104 bundle; what is not valid in it is left out. */
export async function unbundle(data: Readable, bytes: number): Promise<ParsedItem[]> {
  if (bytes > MAX_BUNDLE_BYTES) return []
  const pieces: Buffer[] = []
  for await (const piece of data) pieces.push(piece as Buffer)
  const found: ParsedItem[] = []
  for (const raw of rawItems(Buffer.concat(pieces))) {
    if (raw.length > MAX_MESSAGE_BYTES) continue
    const item = parsed(raw)
    if (item && (await verifyDataItem(item))) found.push(item)
  }
  return found
}

function rawItems(bundle: Buffer): Buffer[] {
  try {
    return unbundleData(bundle).items.map(item => item.getRaw())
  } catch {
    return []
  }
}

function parsed(raw: Buffer): ParsedItem | undefined {
  try {
    return parseDataItem(Uint8Array.from(raw))
  } catch {
    return undefined
  }
}
