import { toBase64Url } from '../hashing/digest.ts'
import { merkleRoot } from '../hashing/merkle.ts'
import { checkpointLeaf, pieceLeaf } from '../machine/digests.ts'
import { pageLeafCount } from '../machine/pages.ts'
import { planStage, stageCount } from '../machine/plan.ts'
import type { RunTerms } from '../machine/plan-parts.ts'
import {
  type DISPUTE_TREES,
  LEVEL_STEP,
  MAX_LEVEL_NODES,
  MAX_SHOWN_OPERATIONS,
  type RevealedResult,
} from '../protocol/dispute.ts'
import type { Replay } from '../replay/replay.ts'

export type DisputeTree = (typeof DISPUTE_TREES)[number]

/** Leaf hashes of one of a run's trees. */
export function leavesOfTree(run: Replay, tree: DisputeTree): readonly Uint8Array[] {
  switch (tree) {
    case 'checkpoints':
      return run.checkpoints.map(checkpointLeaf)
    case 'pages':
      return run.pageLeaves
    case 'answer':
      return run.pieces.map(pieceLeaf)
  }
}

/** Whether a run's tree is the one that a result names. */
export function isSameTree(run: Replay, result: RevealedResult, tree: DisputeTree): boolean {
  const { checkpointRoot, kvRoot, answerRoot } = result
  const named = { checkpoints: checkpointRoot, pages: kvRoot, answer: answerRoot }[tree]
  return toBase64Url(merkleRoot([...leavesOfTree(run, tree)])) === named
}

export function treeSize(run: Pick<Replay, 'terms'>, tree: DisputeTree, count: number): number {
  return tree === 'pages' ? pageLeafCount(run, count) : count
}

/** The lowest level that one answer can show whole. */
export function firstLevel(count: number): number {
  let level = 0
  while (Math.ceil(count / 2 ** level) > MAX_LEVEL_NODES) level++
  return level
}

/** The level that is shown before `level`, which is not the first. */
function levelAbove(count: number, level: number): number {
  let above = firstLevel(count)
  while (Math.max(0, above - LEVEL_STEP) > level) above -= LEVEL_STEP
  return above
}

/** The node with which the answer begins that shows the node of `level` over a leaf. */
export function shownFirst(count: number, level: number, leaf: number): number {
  if (level === firstLevel(count)) return 0
  const above = levelAbove(count, level)
  return Math.floor(leaf / 2 ** above) * 2 ** (above - level)
}

/** How many nodes an answer shows that begins at `node` of `level`: all at first, later those under the picked node. */
export function shownNodes(count: number, level: number, node: number): number {
  const width = Math.ceil(count / 2 ** level)
  if (level === firstLevel(count)) return width
  return Math.min(2 ** (levelAbove(count, level) - level), width - node)
}

/** Whether the operations of a position are shown together with its stages. */
export function showsOperations(terms: RunTerms, position: number): boolean {
  let count = 0
  for (let stage = 0; stage < stageCount(terms, position); stage++)
    count += planStage(terms, position, stage).length
  return count <= MAX_SHOWN_OPERATIONS
}
