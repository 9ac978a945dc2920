import { toBase64, toHashes } from '../hashing/bytes.ts'
import { wholeTree } from '../hashing/known-tree.ts'
import { ApusError } from '../kit/errors.ts'
import { pieceLeaf } from '../machine/digests.ts'
import { planStage, stageCount } from '../machine/plan.ts'
import { choosesAt } from '../machine/plan-parts.ts'
import { digestOfLeaves, valueLeaf } from '../machine/value-tree.ts'
import type { DisputeView } from '../protocol/dispute.ts'
import type { Replay } from '../replay/replay.ts'
import { type DisputeMessage, proven } from './message.ts'
import { type DisputeTree, leavesOfTree, shownNodes, showsOperations } from './trees.ts'

/**
 * What the accused owes to a dispute whose turn is its own, from nothing but a re-run: the same answer whenever it is
 * asked for. Errors: `dispute-unanswerable` when the view asks for nothing that an accused can say.
 */
export function accusedAnswer(view: DisputeView, run: Replay): DisputeMessage {
  const answer = (
    action: DisputeMessage['action'],
    data: unknown,
    about: DisputeMessage['tags'] = {},
  ): DisputeMessage => ({ action, tags: { Dispute: view.id, ...about }, data })
  const { position, stage, operation } = view
  const place = { Job: view.job, Position: String(position) }
  switch (view.moves?.[0]) {
    case 'Answer-Level':
      return answer('Answer-Level', levelOf(run, due(view.tree), due(view.level), due(view.node)))
    case 'Answer-Pages':
      return answer('Answer-Pages', pagesOf(run, due(view.pages)))
    case 'Answer-Stages':
      return answer('Answer-Stages', stagesOf(run, due(position)), place)
    case 'Answer-Operations':
      return answer('Answer-Operations', operationsOf(run, due(position), due(stage)), {
        ...place,
        Stage: String(stage),
      })
    case 'Answer-Chunks':
      return answer('Answer-Chunks', chunksOf(run, due(position), due(stage), due(operation)))
    default:
      throw unanswerable()
  }
}

const unanswerable = () =>
  new ApusError('dispute-unanswerable', 'The dispute does not say which answer the accused owes.', {
    blame: 'nobody',
  })

function due<T>(value: T | undefined): T {
  if (value === undefined) throw unanswerable()
  return value
}

function levelOf(run: Replay, tree: DisputeTree, level: number, first: number) {
  const known = wholeTree(leavesOfTree(run, tree))
  const count = shownNodes(known.count, level, first)
  return { nodes: toHashes(Array.from({ length: count }, (_, i) => due(known.node(level, first + i)))) }
}

function pagesOf(run: Replay, pair: number) {
  return {
    k: toBase64(run.page(2 * pair)),
    v: toBase64(run.page(2 * pair + 1)),
    path: toHashes(due(wholeTree(run.pageLeaves).rangePath(2 * pair, 2))),
  }
}

function stagesOf(run: Replay, position: number) {
  const digests = toHashes(stageDigests(run, position))
  const operations = allOperationsOf(run, position)
  if (!choosesAt(run.terms, position)) return { digests, ...operations }
  const i = position - run.terms.promptLength + 1
  const checkpoints = wholeTree(leavesOfTree(run, 'checkpoints'))
  const pieces = wholeTree(run.pieces.map(pieceLeaf))
  return {
    digests,
    ...operations,
    checkpoint: proven(due(run.checkpoints[i]), due(checkpoints.path(i))),
    piece: proven(due(run.pieces[i]), due(pieces.path(i))),
  }
}

/** The operations of all stages, where one answer holds them. */
function allOperationsOf(run: Replay, position: number) {
  if (!showsOperations(run.terms, position)) return {}
  const stages = Array.from({ length: stageCount(run.terms, position) }, (_, stage) => stage)
  return {
    operations: toHashes(stages.flatMap(stage => operationDigests(run, position, stage))),
    ...adviceOf(run, position, stages.length - 1),
  }
}

function operationsOf(run: Replay, position: number, stage: number) {
  return {
    digests: toHashes(operationDigests(run, position, stage)),
    ...adviceOf(run, position, stage),
  }
}

function adviceOf(run: Replay, position: number, stage: number) {
  const values = run.operations(position, stage)
  const advice = planStage(run.terms, position, stage).flatMap((operation, k) =>
    operation.advice ? (values[k] ?? []) : [],
  )
  return advice.length > 0 ? { advice: toBase64(Buffer.concat(advice)) } : {}
}

function chunksOf(run: Replay, position: number, stage: number, k: number) {
  const operation = due(planStage(run.terms, position, stage)[k])
  const leaves = due(run.operations(position, stage)[k])
  return operation.shown === 'values'
    ? { values: toBase64(Buffer.concat(leaves)) }
    : { leaves: toHashes(leaves.map(valueLeaf)) }
}

/** Digests of a stage's operations in the plan's order. */
export function operationDigests(run: Replay, position: number, stage: number): Uint8Array[] {
  const values = run.operations(position, stage)
  return planStage(run.terms, position, stage).map((operation, k) =>
    digestOfLeaves(operation, due(values[k]).map(valueLeaf)),
  )
}

/** Digests of a position's stages: those of their last operations. */
export function stageDigests(run: Replay, position: number): Uint8Array[] {
  return Array.from({ length: stageCount(run.terms, position) }, (_, stage) => {
    const operations = planStage(run.terms, position, stage)
    const leaves = due(run.operations(position, stage)[operations.length - 1])
    return digestOfLeaves(due(operations.at(-1)), leaves.map(valueLeaf))
  })
}
