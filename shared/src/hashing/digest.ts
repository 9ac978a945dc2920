import { createHash } from 'node:crypto'

/** SHA-256 of the concatenation of the parts, 32 bytes. */
export function sha256(...parts: readonly Uint8Array[]): Uint8Array {
  const hash = createHash('sha256')
  for (const part of parts) hash.update(part)
  return new Uint8Array(hash.digest())
}

/**
 * The digest that TypeScript and Lua share: SHA-256 over the domain and the fields, each preceded by its length as
 * u32 big-endian. Text is UTF-8; write integers as decimal text. Returns base64url (43 characters).
 */
export function digest(domain: string, ...fields: readonly (string | Uint8Array)[]): string {
  const hash = createHash('sha256')
  for (const field of [domain, ...fields]) {
    const bytes = typeof field === 'string' ? Buffer.from(field, 'utf8') : field
    const length = Buffer.alloc(4)
    length.writeUInt32BE(bytes.length)
    hash.update(length).update(bytes)
  }
  return hash.digest('base64url')
}

export const toBase64Url = (bytes: Uint8Array): string => Buffer.from(bytes).toString('base64url')

export const fromBase64Url = (text: string): Uint8Array => new Uint8Array(Buffer.from(text, 'base64url'))
