import { toBase64Url } from '../hashing/digest.ts'
import { wholeTree } from '../hashing/known-tree.ts'
import { merkleRoot } from '../hashing/merkle.ts'
import { checkpointLeaf } from '../machine/digests.ts'
import { promptLeaves } from '../machine/prompt-tree.ts'
import { type Evidence, fittingEvidence } from '../machine/run-leaves.ts'
import type { StatementView } from '../protocol/dispute.ts'
import type { Retrace } from '../replay/replay.ts'
import { structureProof } from './challenger-move.ts'
import { firstDifference } from './compare.ts'
import { type DisputeMessage, proven } from './message.ts'
import { brokenCheckpoint } from './one-message-proof.ts'
import { isSameTree } from './trees.ts'

export interface Claim {
  readonly job: string
  readonly accused: string
  readonly statement: StatementView
  /** The accused's leaves, where they could be had. */
  readonly evidence: Evidence | undefined
}

/**
 * The message that begins a dispute about a seat's revealed result, or proves it wrong at once; undefined when the
 * result is what comes of its tokens. `run` is the job as one computes it who reads these tokens (`OracleRetrace.reading`).
 */
export function openingMove(run: Retrace, claim: Claim): DisputeMessage | undefined {
  const { statement } = claim
  const broken = brokenByItself(run, claim)
  if (broken) return broken
  if (!isSameTree(run, statement, 'answer')) return open(run, claim, 'Tree', 'answer')
  const evidence = fittingEvidence(run, statement, claim.evidence)
  if (evidence === undefined) {
    const tree = (['pages', 'checkpoints'] as const).find(name => !isSameTree(run, statement, name))
    return tree && open(run, claim, 'Tree', tree)
  }
  const difference = firstDifference(run, evidence, statement, run.tokens)
  switch (difference?.kind) {
    case undefined:
      return undefined
    case 'structure':
      return brokenLeaf(claim, evidence.checkpoints, difference.checkpoint)
    case 'page':
      return open(run, claim, 'Page', difference.page >> 1)
    case 'checkpoint':
      return open(run, claim, 'Position', run.terms.promptLength - 1 + difference.checkpoint)
  }
}

/** Faults that need none of the accused's leaves: no room for its tokens, or rules that our own checkpoints break as its. */
function brokenByItself(run: Retrace, claim: Claim): DisputeMessage | undefined {
  const { job, accused, statement } = claim
  const { promptLength, manifest } = run.terms
  if (promptLength + statement.count - 1 > manifest.context) {
    const { count, leaf, path } = lastOfPrompt(run)
    return {
      action: 'Prove-Structure',
      tags: { Job: job, Accused: accused, Index: String(count - 1) },
      data: { tree: 'prompt', count, leaf, path },
    }
  }
  const leaves = run.checkpoints.slice(0, statement.count)
  if (leaves.length < statement.count || checkpointRoot(leaves) !== statement.checkpointRoot) return undefined
  const index = leaves.findIndex((leaf, i) => brokenCheckpoint(leaf, i, statement, run.tokens) !== undefined)
  return index < 0 ? undefined : brokenLeaf(claim, leaves, index)
}

function brokenLeaf({ job, accused }: Claim, leaves: readonly Uint8Array[], index: number): DisputeMessage {
  const path = wholeTree(leaves.map(checkpointLeaf)).path(index) ?? []
  return structureProof(job, accused, index, leaves[index] ?? new Uint8Array(), path)
}

const checkpointRoot = (leaves: readonly Uint8Array[]): string =>
  toBase64Url(merkleRoot(leaves.map(checkpointLeaf)))

function lastOfPrompt(run: Retrace) {
  const leaves = promptLeaves(run.promptTokens)
  const path = wholeTree(leaves.map(leaf => leaf.hash)).path(leaves.length - 1) ?? []
  return { count: leaves.length, ...proven(leaves.at(-1)?.bytes ?? new Uint8Array(), path) }
}

function open(
  run: Retrace,
  { job, accused }: Claim,
  by: 'Position' | 'Page' | 'Tree',
  place: number | string,
): DisputeMessage {
  return {
    action: 'Open-Dispute',
    tags: { Job: job, Accused: accused, [by]: String(place) },
    data: { prompt: lastOfPrompt(run) },
  }
}
