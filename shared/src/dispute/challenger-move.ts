import { equalBytes } from '../hashing/bytes.ts'
import { toBase64Url } from '../hashing/digest.ts'
import { KnownTree, wholeTree } from '../hashing/known-tree.ts'
import { rootOfRange } from '../hashing/merkle-proof.ts'
import { ApusError } from '../kit/errors.ts'
import { checkpointLeaf } from '../machine/digests.ts'
import { pieceAddress } from '../machine/layout.ts'
import { pairPlace } from '../machine/pages.ts'
import { PAGE_ROWS } from '../machine/sizes.ts'
import { cutLeaves } from '../machine/steps.ts'
import { valueLeaf } from '../machine/value-tree.ts'
import { type DisputeView, LEVEL_STEP } from '../protocol/dispute.ts'
import { DisputedStage, stagesAt } from '../replay/disputed-stage.ts'
import type { Replay } from '../replay/replay.ts'
import { shownOperations } from './answer-rules.ts'
import { type DisputeMessage, proven } from './message.ts'
import { brokenCheckpoint } from './one-message-proof.ts'
import type { AnsweredOperations } from './seat-answers.ts'
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
  if (moves.includes('Pick-Stage') || moves.includes('Pick-Operation') || moves.includes('Prove-Step'))
    return stepMove(view, run, accused)
  throw nothingToProve()
}

/** From the position on: the stage that is wrong, in it the operation, in that the chunk, as far as the dispute has come. */
function stepMove(view: DisputeView, run: Replay, accused: Accused): DisputeMessage {
  const moves = view.moves ?? []
  const position = answered(view.position)
  const broken = view.stage === undefined ? answerProof(view, run, accused, position) : undefined
  if (broken) return broken
  const linked = linkedStage(view, run)
  const stage = view.stage ?? wrongStage(run, accused, position, linked)
  if (moves.includes('Pick-Stage')) return pick(view, 'Pick-Stage', { Stage: stage })
  const said = saidOperations(run, accused, position, stage)
  const disputed = new DisputedStage(run, position, stage, said.advice)
  const operation = view.operation ?? wrongOperation(disputed, said, linked)
  if (moves.includes('Pick-Operation'))
    return pick(view, 'Pick-Operation', {
      ...(view.stage === undefined ? { Stage: stage } : {}),
      Operation: operation,
    })
  const chunk = wrongChunk(view, disputed, accused, operation)
  const inputs = stepInputs(disputed, accused, view.pages, answered(disputed.plan[operation]).chunk(chunk))
  return {
    ...pick(view, 'Prove-Step', { Chunk: chunk }),
    data: {
      inputs: inputs.map(({ leaves, path }) => proven(new Uint8Array(Buffer.concat(leaves)), path)),
    },
  }
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
  places: Readonly<Record<string, number>>,
): DisputeMessage => ({
  action,
  tags: {
    Dispute: view.id,
    ...Object.fromEntries(Object.entries(places).map(([name, place]) => [name, String(place)])),
  },
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
  return pick(view, 'Pick-Node', { Node: first + at })
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
function pickRow(view: DisputeView, run: Replay, accused: Accused): DisputeMessage {
  const pair = answered(view.pages)
  const { k, v } = answered(accused.answers.pages(pair))
  const row = Array.from({ length: PAGE_ROWS }, (_, row) => row).find(
    row => !isSameRow(run, 2 * pair, k, row) || !isSameRow(run, 2 * pair + 1, v, row),
  )
  if (row === undefined) throw nothingToProve()
  return pick(view, 'Pick-Row', { Row: row })
}

function isSameRow(run: Replay, index: number, shown: Uint8Array, row: number): boolean {
  const bytes = 2 * run.terms.manifest.headSize
  const own = run.page(index)
  const at = PAGE_ROWS + row * bytes
  return own[row] === shown[row] && equalBytes(own.subarray(at, at + bytes), shown.subarray(at, at + bytes))
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

/** The layer stage of the wrong row by which the dispute came to its position: `link` proves it there. */
const linkedStage = (view: DisputeView, run: Replay): number | undefined =>
  view.pages === undefined ? undefined : pairPlace(run, view.pages).layer + 1

/** The first stage that differs, or that has a wrong row. */
function wrongStage(run: Replay, { answers }: Accused, position: number, linked: number | undefined): number {
  const said = answered(answers.stages(position))
  const at = stagesAt(run, position).findIndex(({ digest }, s) => !equalBytes(digest, said.digests[s]))
  const stage = linked !== undefined && (at < 0 || linked < at) ? linked : at
  if (stage < 0) throw nothingToProve()
  return stage
}

/** What the accused says of a stage's operations: by itself, or with all of the position. */
const saidOperations = (run: Replay, { answers }: Accused, position: number, stage: number) =>
  answers.operations(position, stage) ??
  answered(shownOperations(run.terms, position, answered(answers.stages(position)))?.[stage])

/** The first operation that does not follow from what the accused says of those before it. */
function wrongOperation(
  disputed: DisputedStage,
  said: AnsweredOperations,
  linked: number | undefined,
): number {
  const at = disputed.plan.findIndex(
    ({ name, advice }, k) =>
      !advice &&
      ((name === 'link' && linked === disputed.stage) ||
        !equalBytes(disputed.operationDigest(k), said.digests[k])),
  )
  if (at < 0) throw nothingToProve()
  return at
}

/** The first chunk that is not what it has to be; of a check that is failed, or a link, the one that fails. */
function wrongChunk(
  { pages }: DisputeView,
  disputed: DisputedStage,
  { answers }: Accused,
  k: number,
): number {
  const { run, position, stage, plan } = disputed
  const operation = answered(plan[k])
  const said = answered(answers.chunks(position, stage, k))
  const own = disputed.value(k)
  if (own === undefined) return 0
  const shown = said.values && cutLeaves(operation, said.values)
  for (let c = 0; c < operation.chunks; c++) {
    const { leaf, from, length } = operation.chunk(c)
    const bytes = own[leaf] as Uint8Array
    const isEqual = shown
      ? equalBytes(bytes.subarray(from, from + length), shown[leaf]?.subarray(from, from + length))
      : equalBytes(valueLeaf(bytes), said.leaves?.[leaf])
    if (!isEqual) return c
  }
  if (operation.name === 'link' && pages !== undefined) {
    const { k: keys } = answered(answers.pages(pages))
    const kind = isSameRow(run, 2 * pages, keys, position % PAGE_ROWS) ? 1 : 0
    return 2 * pairPlace(run, pages).head + kind
  }
  throw nothingToProve()
}
