import { toBase64Url } from '../hashing/digest.ts'
import { merkleRoot } from '../hashing/merkle.ts'
import { checkpointLeaf } from '../machine/commitments.ts'
import type { StatementView } from '../protocol/dispute.ts'
import { structureProof } from './challenger-move.ts'
import { firstDifference } from './compare.ts'
import { type Evidence, evidenceRoots, fittingEvidence } from './evidence.ts'
import { type DisputeMessage, proven } from './message.ts'
import { promptLeaves } from './prompt-tree.ts'
import type { Retrace } from './retrace.ts'
import { type DisputeTree, leavesOfTree, wholeTree } from './trees.ts'

export interface Claim {
  readonly job: string
  readonly accused: string
  readonly statement: StatementView
  /** The accused's leaves, where they could be had. */
  readonly evidence: Evidence | undefined
}

/**
 * The message that begins a dispute about a seat's revealed result, or proves it wrong at once; undefined when the
 * result is the run's own.
 */
export function openingMove(run: Retrace, claim: Claim): DisputeMessage | undefined {
  const { statement } = claim
  const evidence = fittingEvidence(run, statement, claim.evidence)
  const broken = brokenByItself(run, claim)
  if (broken) return broken
  const { manifest, promptLength } = run.terms
  const shape = { promptLength, pagesPerBlock: manifest.layers * manifest.kvHeads * 2 }
  const difference = firstDifference(run, evidence, shape)
  switch (difference.kind) {
    case 'checkpoint':
      return open(run, claim, 'Position', promptLength - 1 + difference.checkpoint)
    case 'page':
      return open(run, claim, 'Page', difference.page >> 1)
    case 'structure': {
      const leaves = evidence?.checkpoints ?? []
      const path = wholeTree(leaves.map(checkpointLeaf)).path(difference.checkpoint) ?? []
      const leaf = leaves[difference.checkpoint] ?? new Uint8Array()
      return structureProof(claim.job, claim.accused, difference.checkpoint, leaf, path)
    }
    default: {
      const tree = differingTree(run, statement)
      return tree && open(run, claim, 'Tree', tree)
    }
  }
}

/** Faults that need none of the accused's leaves: it stops earlier than the run, or names another reason for its end. */
function brokenByItself(run: Retrace, { job, accused, statement }: Claim): DisputeMessage | undefined {
  const leaves = run.checkpoints.slice(0, statement.count).map(checkpointLeaf)
  if (leaves.length < statement.count || toBase64Url(merkleRoot(leaves)) !== statement.checkpointRoot)
    return undefined
  const last = run.checkpoints[statement.count - 1] as Uint8Array
  const flag = last[8] as number
  const finish = flag === 1 || flag === 2 ? 'stop' : 'length'
  if (flag !== 0 && finish === statement.finish) return undefined
  const path = wholeTree(leaves).path(statement.count - 1) ?? []
  return structureProof(job, accused, statement.count - 1, last, path)
}

function differingTree(run: Retrace, statement: StatementView): DisputeTree | undefined {
  const own = evidenceRoots(run)
  const isOther = own.checkpointRoot !== statement.checkpointRoot
  // A root binds its leaves' number: under ours no other count can be shown.
  if (isOther || run.checkpoints.length !== statement.count) return 'checkpoints'
  if (own.kvRoot !== statement.kvRoot) return 'pages'
  const answer = toBase64Url(merkleRoot([...leavesOfTree(run, 'answer')]))
  return answer === statement.answerRoot ? undefined : 'answer'
}

function open(
  run: Retrace,
  { job, accused }: Claim,
  by: 'Position' | 'Page' | 'Tree',
  place: number | string,
): DisputeMessage {
  const leaves = promptLeaves(run.promptTokens)
  const path = wholeTree(leaves.map(leaf => leaf.hash)).path(leaves.length - 1) ?? []
  const last = leaves.at(-1)?.bytes ?? new Uint8Array()
  return {
    action: 'Open-Dispute',
    tags: { Job: job, Accused: accused, [by]: String(place) },
    data: { prompt: { count: leaves.length, ...proven(last, path) } },
  }
}
