import type { ACCUSED_MOVES, CHALLENGER_MOVES } from '../protocol/dispute.ts'

type OneMessageProof = 'Prove-Structure' | 'Prove-Answer' | 'Prove-Equivocation'

export type DisputeAction =
  | 'Open-Dispute'
  | (typeof ACCUSED_MOVES)[number]
  | (typeof CHALLENGER_MOVES)[number]
  | OneMessageProof

/** A message of a dispute before it is sent: scalars as tags, the payload as it goes into Data. */
export interface DisputeMessage {
  readonly action: DisputeAction
  readonly tags: Readonly<Record<string, string>>
  readonly data?: unknown
}

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

/** A leaf with its path, as messages carry it. */
export const proven = (leaf: Uint8Array, path: readonly Uint8Array[]) => ({
  leaf: toBase64(leaf),
  path: toHashes(path),
})

export const equalBytes = (a: Uint8Array | undefined, b: Uint8Array | undefined): boolean =>
  a !== undefined && b !== undefined && Buffer.compare(a, b) === 0
