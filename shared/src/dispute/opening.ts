import { toBase64Url } from '../hashing/digest.ts'
import { wholeTree } from '../hashing/known-tree.ts'
import { merkleRoot } from '../hashing/merkle.ts'
import { checkpointLeaf } from '../machine/digests.ts'
import { promptLeaves } from '../machine/prompt-tree.ts'
import { fittingLeaves, type RunLeaves } from '../machine/run-leaves.ts'
import type { RevealedResult } from '../protocol/dispute.ts'
import type { Replay } from '../replay/replay.ts'
import { structureProof } from './challenger-move.ts'
import { firstDifference } from './compare.ts'
import { type DisputeMessage, proven } from './message.ts'
import { brokenCheckpoint } from './one-message-proof.ts'
import { isSameTree } from './trees.ts'

export interface Claim {
  readonly job: string
  readonly accused: string
  readonly result: RevealedResult
  /** The accused's leaves, where they could be had. */
  readonly leaves: RunLeaves | undefined
}

/**
 * The message that begins a dispute about a seat's revealed result, or proves it wrong at once; undefined when the
 * result is what comes of its tokens. `run` is the job as one computes it who reads these tokens (`OracleReplay.reading`).
 */
export function openingMove(run: Replay, claim: Claim): DisputeMessage | undefined {
  const { result } = claim
  const broken = brokenByItself(run, claim)
  if (broken) return broken
  if (!isSameTree(run, result, 'answer')) return open(run, claim, 'Tree', 'answer')
  const leaves = fittingLeaves(run, result, claim.leaves)
  if (leaves === undefined) {
    const tree = (['pages', 'checkpoints'] as const).find(name => !isSameTree(run, result, name))
    return tree && open(run, claim, 'Tree', tree)
  }
  const difference = firstDifference(run, leaves, result, run.tokens)
  switch (difference?.kind) {
    case undefined:
      return undefined
    case 'structure':
      return brokenLeaf(claim, leaves.checkpoints, difference.checkpoint)
    case 'page':
      return open(run, claim, 'Page', difference.page >> 1)
    case 'checkpoint':
      return open(run, claim, 'Position', run.terms.promptLength - 1 + difference.checkpoint)
  }
}

/** Faults that need none of the accused's leaves: no room for its tokens, or rules that our own checkpoints break as its. */
function brokenByItself(run: Replay, claim: Claim): DisputeMessage | undefined {
  const { job, accused, result } = claim
  const { promptLength, manifest } = run.terms
  if (promptLength + result.count - 1 > manifest.context) {
    const { count, leaf, path } = lastOfPrompt(run)
    return {
      action: 'Prove-Structure',
      tags: { Job: job, Accused: accused, Index: String(count - 1) },
      data: { tree: 'prompt', count, leaf, path },
    }
  }
  const leaves = run.checkpoints.slice(0, result.count)
  if (leaves.length < result.count || checkpointRoot(leaves) !== result.checkpointRoot) return undefined
  const index = leaves.findIndex((leaf, i) => brokenCheckpoint(leaf, i, result, run.tokens) !== undefined)
  return index < 0 ? undefined : brokenLeaf(claim, leaves, index)
}

function brokenLeaf({ job, accused }: Claim, leaves: readonly Uint8Array[], index: number): DisputeMessage {
  const path = wholeTree(leaves.map(checkpointLeaf)).path(index) ?? []
  return structureProof(job, accused, index, leaves[index] ?? new Uint8Array(), path)
}

const checkpointRoot = (leaves: readonly Uint8Array[]): string =>
  toBase64Url(merkleRoot(leaves.map(checkpointLeaf)))

function lastOfPrompt(run: Replay) {
  const leaves = promptLeaves(run.promptTokens)
  const path = wholeTree(leaves.map(leaf => leaf.hash)).path(leaves.length - 1) ?? []
  return { count: leaves.length, ...proven(leaves.at(-1)?.bytes ?? new Uint8Array(), path) }
}

function open(
  run: Replay,
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
