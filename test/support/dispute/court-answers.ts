import { fromBase64, toBase64Url } from '@apus/shared/hashing'
import { checkpointLeaf } from '@apus/shared/machine'
import { showsOperations } from '../../../shared/src/dispute/trees.ts'
import { equalBytes, fromHashes } from '../../../shared/src/hashing/bytes.ts'
import { rootOfRange } from '../../../shared/src/hashing/merkle-proof.ts'
import { pageLeaf, pieceLeaf } from '../../../shared/src/machine/digests.ts'
import { pageLeafCount, pairPlace } from '../../../shared/src/machine/pages.ts'
import { operationsOfStage, planStage, stageCount } from '../../../shared/src/machine/plan.ts'
import type { RunTerms } from '../../../shared/src/machine/plan-parts.ts'
import { valueDigest } from '../../../shared/src/machine/value-tree.ts'
import { type DisputePayload, disputePayloads } from '../../../shared/src/protocol/dispute.ts'
import { type CourtJob, refuse } from './court-job.ts'

/** Refuses an Answer-Pages that shows other pages than those of the seat. */
export function checkPages(job: CourtJob, pair: number, data: unknown): void {
  const { terms, result } = job
  const { k, v, path } = disputePayloads['Answer-Pages'].parse(data)
  const hashes = [pageLeaf(fromBase64(k)), pageLeaf(fromBase64(v))]
  const root = rootOfRange(pageLeafCount(job, result.count), 2 * pair, hashes, fromHashes(path))
  if (!root || toBase64Url(root) !== result.kvRoot) refuse('wrong-pages')
  const { page } = pairPlace(job, pair)
  const written = Math.min(64, terms.promptLength + result.count - 1 - page * 64)
  for (const bytes of [fromBase64(k), fromBase64(v)]) {
    const rows = bytes.subarray(64 + written * terms.manifest.headSize * 2)
    if (bytes.subarray(written, 64).some(b => b !== 0) || rows.some(b => b !== 0)) refuse('wrong-pages')
  }
}

/** Refuses an Answer-Stages whose digests do not fit the seat's checkpoint, or whose operations do not fit those. */
export function checkStages(job: CourtJob, position: number, data: unknown): void {
  const { terms } = job
  const shown = disputePayloads['Answer-Stages'].parse(data)
  const stages = fromHashes(shown.digests)
  if (stages.length !== stageCount(terms, position)) refuse('wrong-stages')
  const index = position - terms.promptLength + 1
  if (index >= 0) checkCheckpoint(job, index, stages, shown)
  const all = showsOperations(terms, position) ? stages.length : 0
  if (all > 0 && shown.operations === undefined) refuse('bad-data')
  const operations = fromHashes(shown.operations ?? '')
  let count = 0
  for (let stage = 0; stage < all; stage++) {
    const own = operationsOfStage(terms, position, stage, operations)
    const advice = stage === all - 1 ? shown.advice : undefined
    checkOperations(terms, position, stage, own, stages[stage], advice)
    count += own.length
  }
  if (count !== operations.length) refuse('wrong-operations')
}

function checkCheckpoint(
  { terms, result }: CourtJob,
  index: number,
  stages: readonly Uint8Array[],
  { checkpoint, piece }: DisputePayload<'Answer-Stages'>,
): void {
  if (!checkpoint || !piece) refuse('bad-data')
  const leaf = fromBase64(checkpoint.leaf)
  const under = (hash: Uint8Array, path: string, root: string) => {
    const found = rootOfRange(result.count, index, [hash], fromHashes(path))
    return found && toBase64Url(found) === root
  }
  const fits =
    leaf.length === 41 &&
    under(checkpointLeaf(leaf), checkpoint.path, result.checkpointRoot) &&
    under(pieceLeaf(fromBase64(piece.leaf)), piece.path, result.answerRoot)
  if (!fits) refuse('wrong-checkpoint')
  const { layers } = terms.manifest
  const head = valueDigest([leaf.slice(4, 9)])
  if (!equalBytes(stages[layers], leaf.slice(9)) || !equalBytes(stages[layers + 1], head))
    refuse('wrong-stages')
}

/** Refuses digests of a stage's operations that do not end in the stage's own, or that its advice does not fit. */
export function checkOperations(
  terms: RunTerms,
  position: number,
  stage: number,
  said: readonly Uint8Array[],
  last: Uint8Array | undefined,
  advice: string | undefined,
): void {
  const plan = planStage(terms, position, stage)
  if (said.length !== plan.length || !equalBytes(said.at(-1), last)) refuse('wrong-operations')
  const places = plan.flatMap((operation, k) => (operation.advice ? [k] : []))
  const bytes = fromBase64(advice ?? '')
  if (bytes.length !== places.length * 8) refuse('wrong-operations')
  for (const [i, k] of places.entries()) {
    const digest = valueDigest([bytes.slice(i * 8, i * 8 + 8)])
    if (!equalBytes(digest, said[k])) refuse('wrong-operations')
  }
}
