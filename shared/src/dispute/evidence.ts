import { toBase64Url } from '../hashing/digest.ts'
import { merkleRoot } from '../hashing/merkle.ts'
import { checkpointLeaf } from '../machine/commitments.ts'

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

/** The roots of an evidence, as a result names them. */
export const evidenceRoots = ({ checkpoints, pageLeaves }: Evidence): EvidenceRoots => ({
  checkpointRoot: toBase64Url(merkleRoot(checkpoints.map(checkpointLeaf))),
  kvRoot: toBase64Url(merkleRoot(pageLeaves)),
})
