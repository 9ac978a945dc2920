import { toBase64Url } from '../hashing/digest.ts'
import { merkleRoot } from '../hashing/merkle.ts'
import { checkpointLeaf, pieceLeaf } from '../machine/commitments.ts'
import { PAGE_ROWS } from '../machine/rows.ts'
import type { DISPUTE_TREES, StatementView } from '../protocol/dispute.ts'
import { LEVEL_STEP, MAX_LEVEL_NODES } from '../protocol/dispute.ts'
import { KnownTree } from './known-tree.ts'
import type { Retrace } from './retrace.ts'

export type DisputeTree = (typeof DISPUTE_TREES)[number]

/** Leaf hashes of one of a run's trees. */
export function leavesOfTree(run: Retrace, tree: DisputeTree): readonly Uint8Array[] {
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
export function isSameTree(run: Retrace, statement: StatementView, tree: DisputeTree): boolean {
  const { checkpointRoot, kvRoot, answerRoot } = statement
  const named = { checkpoints: checkpointRoot, pages: kvRoot, answer: answerRoot }[tree]
  return toBase64Url(merkleRoot([...leavesOfTree(run, tree)])) === named
}

/** K/V leaves of a run of `count` chosen tokens: one K and one V page for each block of 64 positions, layer and head. */
export function pageLeafCount({ terms }: Pick<Retrace, 'terms'>, count: number): number {
  const { layers, kvHeads } = terms.manifest
  return Math.ceil((terms.promptLength + count - 1) / PAGE_ROWS) * layers * kvHeads * 2
}

export function treeSize(run: Pick<Retrace, 'terms'>, tree: DisputeTree, count: number): number {
  return tree === 'pages' ? pageLeafCount(run, count) : count
}

/** A tree of which all leaves are known. */
export function wholeTree(leaves: readonly Uint8Array[]): KnownTree {
  const tree = new KnownTree(leaves.length)
  tree.setAll(0, 0, leaves)
  return tree
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

/** K/V pair of a page leaf, and where it lies. */
export function pairPlace({ terms }: Pick<Retrace, 'terms'>, pair: number) {
  const { layers, kvHeads } = terms.manifest
  const perPage = layers * kvHeads
  return {
    page: Math.floor(pair / perPage),
    layer: Math.floor((pair % perPage) / kvHeads),
    head: pair % kvHeads,
  }
}

export const pairIndex = (
  { terms }: Pick<Retrace, 'terms'>,
  { page, layer, head }: { readonly page: number; readonly layer: number; readonly head: number },
): number => (page * terms.manifest.layers + layer) * terms.manifest.kvHeads + head
