import { toBase64, toHashes } from '../hashing/bytes.ts'
import { wholeTree } from '../hashing/known-tree.ts'
import { ApusError } from '../kit/errors.ts'
import { choosesAt } from '../machine/plan-parts.ts'
import { valueLeaf } from '../machine/value-tree.ts'
import type { DisputeView } from '../protocol/dispute.ts'
import { DisputedStage, stagesAt } from '../replay/disputed-stage.ts'
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
  const disputed = () => new DisputedStage(run, due(position), due(stage))
  const place = { Job: view.job, Position: String(position) }
  switch (view.moves?.[0]) {
    case 'Answer-Level':
      return answer('Answer-Level', levelOf(run, due(view.tree), due(view.level), due(view.node)))
    case 'Answer-Pages':
      return answer('Answer-Pages', pagesOf(run, due(view.pages)))
    case 'Answer-Stages':
      return answer('Answer-Stages', stagesOf(run, due(position)), place)
    case 'Answer-Operations':
      return answer('Answer-Operations', operationsOf(disputed()), {
        ...place,
        Stage: String(stage),
      })
    case 'Answer-Chunks':
      return answer('Answer-Chunks', chunksOf(disputed(), due(operation)))
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
  const stages = stagesAt(run, position)
  const shown = showsOperations(run.terms, position)
    ? { operations: toHashes(stages.flatMap(digestsOf)), ...adviceOf(due(stages.at(-1))) }
    : {}
  const answer = { digests: toHashes(stages.map(stage => due(stage.digest))), ...shown }
  if (!choosesAt(run.terms, position)) return answer
  const i = position - run.terms.promptLength + 1
  const checkpoints = wholeTree(leavesOfTree(run, 'checkpoints'))
  const pieces = wholeTree(leavesOfTree(run, 'answer'))
  return {
    ...answer,
    checkpoint: proven(due(run.checkpoints[i]), due(checkpoints.path(i))),
    piece: proven(due(run.pieces[i]), due(pieces.path(i))),
  }
}

const operationsOf = (stage: DisputedStage) => ({ digests: toHashes(digestsOf(stage)), ...adviceOf(stage) })

const digestsOf = (stage: DisputedStage): Uint8Array[] =>
  stage.plan.map((_, k) => due(stage.operationDigest(k)))

function adviceOf(stage: DisputedStage) {
  const advice = stage.plan.flatMap((operation, k) => (operation.advice ? due(stage.value(k)) : []))
  return advice.length > 0 ? { advice: toBase64(Buffer.concat(advice)) } : {}
}

function chunksOf(stage: DisputedStage, k: number) {
  const leaves = due(stage.value(k))
  return due(stage.plan[k]).shown === 'values'
    ? { values: toBase64(Buffer.concat(leaves)) }
    : { leaves: toHashes(leaves.map(valueLeaf)) }
}
