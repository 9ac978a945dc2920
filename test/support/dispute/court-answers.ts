import { toBase64Url } from '@apus/shared/hashing'
import { PAGE_ROWS } from '@apus/shared/machine'
import { readAnswer } from '../../../shared/src/dispute/seat-answers.ts'
import { type DisputeTree, shownNodes, treeSize } from '../../../shared/src/dispute/trees.ts'
import { equalBytes } from '../../../shared/src/hashing/bytes.ts'
import { sealRoot } from '../../../shared/src/hashing/merkle.ts'
import { rootOfRange, topOfRange } from '../../../shared/src/hashing/merkle-proof.ts'
import { pageLeaf } from '../../../shared/src/machine/digests.ts'
import { pageLeafCount, pairPlace } from '../../../shared/src/machine/pages.ts'
import { type CourtJob, refuse } from './court-job.ts'

interface Nodes {
  readonly tree: DisputeTree
  readonly level: number
  readonly first: number
  /** The node under which they are; of those of the first level there is none. */
  readonly above: Uint8Array | undefined
}

/** Refuses an Answer-Level that shows other nodes than those under the picked one, or under the root of the tree. */
export function checkLevel(job: CourtJob, { tree, level, first, above }: Nodes, data: unknown): void {
  const nodes = readAnswer.level(data)
  const count = treeSize(job, tree, job.result.count)
  if (nodes.length !== shownNodes(count, level, first)) refuse('wrong-nodes')
  const top = topOfRange(nodes.length, 0, nodes, [])!
  const { checkpointRoot, kvRoot, answerRoot } = job.result
  const root = { checkpoints: checkpointRoot, pages: kvRoot, answer: answerRoot }[tree]
  const fits = above ? equalBytes(top, above) : toBase64Url(sealRoot(count, top)) === root
  if (!fits) refuse('wrong-nodes')
}

/** Refuses an Answer-Pages that shows other pages than those of the seat. */
export function checkPages(job: CourtJob, pair: number, data: unknown): void {
  const { terms, result } = job
  const { k, v, path } = readAnswer.pages(data)
  const root = rootOfRange(pageLeafCount(job, result.count), 2 * pair, [pageLeaf(k), pageLeaf(v)], path)
  if (!root || toBase64Url(root) !== result.kvRoot) refuse('wrong-pages')
  const rowBytes = 2 * terms.manifest.headSize
  const { page } = pairPlace(job, pair)
  const written = Math.min(PAGE_ROWS, terms.promptLength + result.count - 1 - page * PAGE_ROWS)
  for (const bytes of [k, v]) {
    if (bytes.length !== PAGE_ROWS * (1 + rowBytes)) refuse('wrong-pages')
    const unwritten = [bytes.subarray(written, PAGE_ROWS), bytes.subarray(PAGE_ROWS + written * rowBytes)]
    if (unwritten.some(rows => rows.some(byte => byte !== 0))) refuse('wrong-pages')
  }
}
