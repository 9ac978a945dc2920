import { toBase64Url } from '../hashing/digest.ts'
import { merkleRoot } from '../hashing/merkle.ts'
import type { RevealedResult } from '../protocol/dispute.ts'
import { checkpointLeaf } from './digests.ts'
import { pageLeafCount } from './pages.ts'
import type { RunTerms } from './plan-parts.ts'

/** What a run commits to, leaf by leaf: enough to say where two runs part. */
export interface RunLeaves {
  /** Checkpoint leaves' bytes, one a chosen token. */
  readonly checkpoints: readonly Uint8Array[]
  /** Leaf hashes of the K/V pages in their order. */
  readonly pageLeaves: readonly Uint8Array[]
}

export interface RunRoots {
  readonly checkpointRoot: string
  readonly kvRoot: string
}

/** Leaves that are as many as the statement says; others prove nothing, whatever root they have. */
export function fittingLeaves(
  run: { readonly terms: RunTerms },
  { count }: RevealedResult,
  leaves: RunLeaves | undefined,
): RunLeaves | undefined {
  const fits = leaves?.checkpoints.length === count && leaves.pageLeaves.length === pageLeafCount(run, count)
  return fits ? leaves : undefined
}

/** The roots of a run’s leaves, as a result names them. */
export const runRoots = ({ checkpoints, pageLeaves }: RunLeaves): RunRoots => ({
  checkpointRoot: toBase64Url(merkleRoot(checkpoints.map(checkpointLeaf))),
  kvRoot: toBase64Url(merkleRoot(pageLeaves)),
})
