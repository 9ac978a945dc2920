import { createHash } from 'node:crypto'

const sha384 = (...parts: ReadonlyArray<Uint8Array | string>): Buffer => {
  const hash = createHash('sha384')
  for (const part of parts) hash.update(part)
  return hash.digest()
}

/** Arweave's deep hash of a flat list of byte strings: what ANS-104 signatures sign. */
export function deepHash(parts: readonly Uint8Array[]): Buffer {
  let accumulated = sha384(`list${parts.length}`)
  for (const part of parts) {
    const blob = sha384(sha384(`blob${part.length}`), sha384(part))
    accumulated = sha384(accumulated, blob)
  }
  return accumulated
}
