import { toBase64, toHashes } from '../hashing/bytes.ts'
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

/** A leaf with its path, as messages carry it. */
export const proven = (leaf: Uint8Array, path: readonly Uint8Array[]) => ({
  leaf: toBase64(leaf),
  path: toHashes(path),
})
