import { toBase64Url } from '../hashing/digest.ts'
import { merkleRoot } from '../hashing/merkle.ts'
import type { StatementView } from '../protocol/dispute.ts'
import { checkpointLeaf } from './digests.ts'
import { pageLeafCount } from './pages.ts'
import type { RunTerms } from './plan-parts.ts'

/** What a run commits to, leaf by leaf: enough to say where two runs part. */
export interface Evidence {
  /** Checkpoint leaves' bytes, one a chosen token. */
  readonly checkpoints: readonly Uint8Array[]
  /** Leaf hashes of the K/V pages in their order. */
  readonly pageLeaves: readonly Uint8Array[]
}

export interface EvidenceRoots {
  readonly checkpointRoot: string
  readonly kvRoot: string
}

/** Leaves that are as many as the statement says; others prove nothing, whatever root they have. */
export function fittingEvidence(
  run: { readonly terms: RunTerms },
  { count }: StatementView,
  evidence: Evidence | undefined,
): Evidence | undefined {
  const fits =
    evidence?.checkpoints.length === count && evidence.pageLeaves.length === pageLeafCount(run, count)
  return fits ? evidence : undefined
}

/** The roots of an evidence, as a result names them. */
export const evidenceRoots = ({ checkpoints, pageLeaves }: Evidence): EvidenceRoots => ({
  checkpointRoot: toBase64Url(merkleRoot(checkpoints.map(checkpointLeaf))),
  kvRoot: toBase64Url(merkleRoot(pageLeaves)),
})
