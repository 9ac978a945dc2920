import { equalBytes } from '../hashing/bytes.ts'
import { toBase64Url } from '../hashing/digest.ts'
import { KnownTree, wholeTree } from '../hashing/known-tree.ts'
import { rootOfRange } from '../hashing/merkle-proof.ts'
import { ApusError } from '../kit/errors.ts'
import { checkpointLeaf } from '../machine/digests.ts'
import { pieceAddress } from '../machine/layout.ts'
import { pairPlace } from '../machine/pages.ts'
import { operationsOfStage, planStage } from '../machine/plan.ts'
import { PAGE_ROWS } from '../machine/sizes.ts'
import type { Operation } from '../machine/steps.ts'
import { digestOfLeaves, valueLeaf } from '../machine/value-tree.ts'
import { type DisputeView, LEVEL_STEP } from '../protocol/dispute.ts'
import type { Replay } from '../replay/replay.ts'
import { stageValues } from '../replay/stage-values.ts'
import { stageDigests } from './accused-answer.ts'
import { type DisputeMessage, proven } from './message.ts'
import { brokenCheckpoint } from './one-message-proof.ts'
import { type Accused, stepInputs, tokenAt } from './step-inputs.ts'
import { firstLevel, leavesOfTree, shownFirst, treeSize } from './trees.ts'

/**
 * The challenger's move in a dispute whose turn is its own, from what the accused has answered and a run that reads its
 * tokens (`OracleReplay.reading`); a proof in one message where one has become possible. Errors: `nothing-to-prove` when the
 * accused is right after all.
 */
export function challengerMove(view: DisputeView, run: Replay, accused: Accused): DisputeMessage {
  const moves = view.moves ?? []
  if (moves.includes('Pick-Node')) return pickNode(view, run, accused)
  if (moves.includes('Pick-Row')) return pickRow(view, run, accused)
  if (moves.includes('Pick-Stage')) return pickStage(view, run, accused)
  if (moves.includes('Pick-Operation')) return pickOperation(view, run, accused)
  if (moves.includes('Prove-Step')) return prove(view, run, accused)
  throw nothingToProve()
}

const nothingToProve = () =>
  new ApusError('nothing-to-prove', 'The answers of the accused are the same as those of this run.', {
    blame: 'nobody',
  })

function answered<T>(value: T | undefined): T {
  if (value === undefined)
    throw new ApusError('answer-missing', 'The answer to this dispute is not published yet.', {
      retry: true,
      blame: 'nobody',
    })
  return value
}

const pick = (
  view: DisputeView,
  action: DisputeMessage['action'],
  tag: string,
  value: number,
): DisputeMessage => ({
  action,
  tags: { Dispute: view.id, [tag]: String(value) },
})

function pickNode(view: DisputeView, run: Replay, accused: Accused): DisputeMessage {
  const tree = answered(view.tree)
  const level = answered(view.level)
  const first = answered(view.node)
  const nodes = answered(accused.answers.level(tree, level, first))
  const broken = tree === 'checkpoints' ? brokenUnderNodes(view, run, accused) : undefined
  if (broken) return broken
  const own = wholeTree(leavesOfTree(run, tree))
  const count = treeSize(run, tree, accused.result.count)
  const at = nodes.findIndex((node, i) => {
    const end = (first + i + 1) * 2 ** level
    // At the edge of trees of unlike size equal nodes may stand over unlike numbers of leaves.
    if (own.count !== count && end > Math.min(own.count, count)) return true
    return !equalBytes(node, own.node(level, first + i))
  })
  if (at < 0) throw nothingToProve()
  return pick(view, 'Pick-Node', 'Node', first + at)
}

/** Our own checkpoint, which is the accused's too according to the nodes that it has shown, and breaks a rule there. */
function brokenUnderNodes(view: DisputeView, run: Replay, accused: Accused): DisputeMessage | undefined {
  const { result } = accused
  const own = run.checkpoints.slice(0, result.count)
  const index = own.findIndex((leaf, i) => brokenCheckpoint(leaf, i, result, run.tokens) !== undefined)
  const leaf = own[index]
  if (leaf === undefined) return undefined
  const known = new KnownTree(result.count)
  known.setAll(0, 0, own.map(checkpointLeaf))
  for (let level = firstLevel(result.count); ; level = Math.max(0, level - LEVEL_STEP)) {
    const node = shownFirst(result.count, level, index)
    const nodes = accused.answers.level('checkpoints', level, node)
    if (nodes) known.setAll(level, node, nodes)
    if (level === 0) break
  }
  const path = known.path(index)
  if (path === undefined) return undefined
  const root = rootOfRange(result.count, index, [checkpointLeaf(leaf)], path)
  if (!root || toBase64Url(root) !== result.checkpointRoot) return undefined
  return structureProof(view.job, view.accused, index, leaf, path)
}

export const structureProof = (
  job: string,
  accused: string,
  index: number,
  leaf: Uint8Array,
  path: readonly Uint8Array[],
): DisputeMessage => ({
  action: 'Prove-Structure',
  tags: { Job: job, Accused: accused, Index: String(index) },
  data: proven(leaf, path),
})

/** The first row of the shown pair that differs. */
function wrongRow(run: Replay, accused: Accused, pair: number): number | undefined {
  const { k, v } = answered(accused.answers.pages(pair))
  return Array.from({ length: PAGE_ROWS }, (_, row) => row).find(
    row => !isSameRow(run, 2 * pair, k, row) || !isSameRow(run, 2 * pair + 1, v, row),
  )
}

function isSameRow(run: Replay, index: number, shown: Uint8Array, row: number): boolean {
  const bytes = 2 * run.terms.manifest.headSize
  const own = run.page(index)
  const at = PAGE_ROWS + row * bytes
  return own[row] === shown[row] && equalBytes(own.subarray(at, at + bytes), shown.subarray(at, at + bytes))
}

function pickRow(view: DisputeView, run: Replay, accused: Accused): DisputeMessage {
  const row = wrongRow(run, accused, answered(view.pages))
  if (row === undefined) throw nothingToProve()
  return pick(view, 'Pick-Row', 'Row', row)
}

/** The layer stage of the wrong row by which the dispute came to its position: `link` proves it there. */
const linkedStage = (view: DisputeView, run: Replay): number | undefined =>
  view.pages === undefined ? undefined : pairPlace(run, view.pages).layer + 1

function pickStage(view: DisputeView, run: Replay, accused: Accused): DisputeMessage {
  return (
    answerProof(view, run, accused, answered(view.position)) ??
    pick(view, 'Pick-Stage', 'Stage', wrongStage(view, run, accused))
  )
}

/** The first stage that differs, or that has a wrong row. */
function wrongStage(view: DisputeView, run: Replay, accused: Accused): number {
  const position = answered(view.position)
  const said = answered(accused.answers.stages(position))
  const own = stageDigests(run, position)
  const at = own.findIndex((digest, s) => !equalBytes(digest, said.digests[s]))
  const linked = linkedStage(view, run)
  const stage = linked !== undefined && (at < 0 || linked < at) ? linked : at
  if (stage < 0) throw nothingToProve()
  return stage
}

/** The accused's checkpoint breaks a rule by itself, or its piece is not that of its token. */
function answerProof(
  view: DisputeView,
  run: Replay,
  accused: Accused,
  position: number,
): DisputeMessage | undefined {
  const { checkpoint, piece } = accused.answers.stages(position) ?? {}
  const i = position - run.terms.promptLength + 1
  if (checkpoint && brokenCheckpoint(checkpoint.leaf, i, accused.result, run.tokens))
    return structureProof(view.job, view.accused, i, checkpoint.leaf, checkpoint.path)
  if (!piece || equalBytes(piece.leaf, run.pieces[i])) return undefined
  const { leaf } = pieceAddress(run.terms.layout, tokenAt(run, position + 1))
  return {
    action: 'Prove-Answer',
    tags: { Job: view.job, Accused: view.accused, Index: String(i) },
    data: {
      piece: proven(piece.leaf, piece.path),
      pieces: proven(run.bundleLeaf(leaf), run.bundlePath(leaf)),
    },
  }
}

function pickOperation(view: DisputeView, run: Replay, accused: Accused): DisputeMessage {
  const position = answered(view.position)
  const proof = view.stage === undefined ? answerProof(view, run, accused, position) : undefined
  if (proof) return proof
  const stage = view.stage ?? wrongStage(view, run, accused)
  const operation = wrongOperation(view, run, accused, position, stage)
  if (operation === undefined) throw nothingToProve()
  return {
    action: 'Pick-Operation',
    tags: {
      Dispute: view.id,
      ...(view.stage === undefined ? { Stage: String(stage) } : {}),
      Operation: String(operation),
    },
  }
}

/** What the accused says of a stage's operations: by itself, or with all of the position. */
function saidOperations(run: Replay, { answers }: Accused, position: number, stage: number) {
  const own = answers.operations(position, stage)
  if (own) return own
  const { operations, digests, advice } = answered(answers.stages(position))
  return {
    digests: operationsOfStage(run.terms, position, stage, answered(operations)),
    advice: stage === digests.length - 1 ? advice : undefined,
  }
}

/** The first operation that does not follow from what the accused says of those before it. */
function wrongOperation(
  view: DisputeView,
  run: Replay,
  accused: Accused,
  position: number,
  stage: number,
): number | undefined {
  const said = saidOperations(run, accused, position, stage)
  const operations = planStage(run.terms, position, stage)
  const values = stageValues(run, position, stage, said.advice)
  const linked = linkedStage(view, run) === stage
  const at = operations.findIndex((operation, k) => {
    if (operation.advice) return false
    if (linked && operation.name === 'link') return true
    const leaves = values[k]
    return (
      leaves === undefined || !equalBytes(digestOfLeaves(operation, leaves.map(valueLeaf)), said.digests[k])
    )
  })
  return at < 0 ? undefined : at
}

function prove(view: DisputeView, run: Replay, accused: Accused): DisputeMessage {
  const position = answered(view.position)
  const stage = answered(view.stage)
  const k = answered(view.operation)
  const operation = answered(planStage(run.terms, position, stage)[k])
  const values = stageValues(run, position, stage, accused.answers.operations(position, stage)?.advice)
  const c = wrongChunk(view, run, accused, operation, values[k])
  const chunk = operation.chunk(c)
  const inputs = stepInputs(run, accused, { position, stage, shown: view.pages }, values, chunk)
  return {
    action: 'Prove-Step',
    tags: { Dispute: view.id, Chunk: String(c) },
    data: {
      inputs: inputs.map(({ leaves, path }) => proven(new Uint8Array(Buffer.concat(leaves)), path)),
    },
  }
}

/** The first chunk that is not what it has to be; of a check that is failed, or a link, the one that fails. */
function wrongChunk(
  view: DisputeView,
  run: Replay,
  accused: Accused,
  operation: Operation,
  expected: readonly Uint8Array[] | undefined,
): number {
  const position = answered(view.position)
  const said = answered(accused.answers.chunks(position, operation.stage, answered(view.operation)))
  if (expected === undefined) return 0
  for (let c = 0, at = 0, leaf = 0; c < operation.chunks; c++) {
    const chunk = operation.chunk(c)
    for (; leaf < chunk.leaf; leaf++) at += operation.leafBytes(leaf)
    const bytes = expected[chunk.leaf] as Uint8Array
    const from = at + chunk.from
    const equal =
      operation.shown === 'values'
        ? equalBytes(
            bytes.subarray(chunk.from, chunk.from + chunk.length),
            said.values?.subarray(from, from + chunk.length),
          )
        : equalBytes(valueLeaf(bytes), said.leaves?.[chunk.leaf])
    if (!equal) return c
  }
  if (operation.name === 'link' && view.pages !== undefined) {
    const { k } = answered(accused.answers.pages(view.pages))
    const kind = isSameRow(run, 2 * view.pages, k, position % PAGE_ROWS) ? 1 : 0
    return 2 * pairPlace(run, view.pages).head + kind
  }
  throw nothingToProve()
}
