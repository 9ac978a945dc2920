import { hash } from 'node:crypto'

const sha384 = (bytes: Uint8Array | string): Buffer => hash('sha384', bytes, 'buffer')

/** Arweave's deep hash of a flat list of byte strings: what ANS-104 signatures sign. */
export function deepHash(parts: readonly Uint8Array[]): Buffer {
  let accumulated = sha384(`list${parts.length}`)
  for (const part of parts) {
    const blob = sha384(Buffer.concat([sha384(`blob${part.length}`), sha384(part)]))
    accumulated = sha384(Buffer.concat([accumulated, blob]))
  }
  return accumulated
}
