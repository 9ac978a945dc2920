/** Bytes of a SHA-256 hash. */
const HASH = 32

export const toBase64 = (bytes: Uint8Array): string => Buffer.from(bytes).toString('base64')
export const fromBase64 = (text: string): Uint8Array => new Uint8Array(Buffer.from(text, 'base64'))

/** Hashes one after the other. */
export const toHashes = (hashes: readonly Uint8Array[]): string => Buffer.concat(hashes).toString('base64')

export function fromHashes(text: string): Uint8Array[] {
  const bytes = fromBase64(text)
  return Array.from({ length: Math.floor(bytes.length / HASH) }, (_, i) =>
    bytes.slice(i * HASH, (i + 1) * HASH),
  )
}

export const equalBytes = (a: Uint8Array | undefined, b: Uint8Array | undefined): boolean =>
  a !== undefined && b !== undefined && Buffer.compare(a, b) === 0
