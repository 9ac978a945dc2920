import { ApusError } from '../kit/errors.ts'
import { checkpointLeaf } from '../machine/commitments.ts'
import { pieceAddress } from '../machine/layout.ts'
import { planStage } from '../machine/plan.ts'
import { PAGE_ROWS } from '../machine/rows.ts'
import type { Operation } from '../machine/steps.ts'
import type { DisputeView } from '../protocol/dispute.ts'
import { stageDigests } from './accused-answer.ts'
import { isAdvice, isCheck, operationsOfStage, showsValues } from './chunks.ts'
import { breaksByItself } from './compare.ts'
import { fittingEvidence } from './evidence.ts'
import { KnownTree } from './known-tree.ts'
import { type DisputeMessage, equalBytes, proven } from './message.ts'
import type { Retrace } from './retrace.ts'
import { stageValues } from './stage-values.ts'
import { type Opponent, stepInputs, tokenAt } from './step-inputs.ts'
import { type DisputeTree, leavesOfTree, pairPlace, treeSize, wholeTree } from './trees.ts'
import { digestOfLeaves, valueLeaf } from './value-tree.ts'

/**
 * The challenger's move in a dispute whose turn is its own, from a re-run and what the accused has answered; a proof in
 * one message where one has become possible. Errors: `nothing-to-prove` when the accused is right after all.
 */
export function challengerMove(view: DisputeView, run: Retrace, opponent: Opponent): DisputeMessage {
  const moves = view.moves ?? []
  const them = { ...opponent, evidence: fittingEvidence(run, opponent.statement, opponent.evidence) }
  if (moves.includes('Pick-Node')) return pickNode(view, run, them)
  if (moves.includes('Pick-Stage')) return pickStage(view, run, them)
  if (moves.includes('Pick-Operation')) return pickOperation(view, run, them)
  if (moves.includes('Prove-Step')) return prove(view, run, them)
  if (moves.includes('Pick-Row')) return pickRow(view, run, them)
  throw nothingToProve()
}

const nothingToProve = () =>
  new ApusError('nothing-to-prove', 'What the accused has answered is what this run gives.', {
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

function pickNode(view: DisputeView, run: Retrace, them: Opponent): DisputeMessage {
  const tree = answered(view.tree)
  const level = answered(view.level)
  const first = answered(view.node)
  const nodes = answered(them.said.level(tree, level, first))
  const longer = endsLater(view, run, them, tree)
  if (longer) return longer
  const own = wholeTree(leavesOfTree(run, tree))
  const count = treeSize(run, tree, them.statement.count)
  const at = nodes.findIndex((node, i) => {
    const end = (first + i + 1) * 2 ** level
    // At the edge of trees of unlike size equal nodes may stand over unlike numbers of leaves.
    if (own.count !== count && end > Math.min(own.count, count)) return true
    return !equalBytes(node, own.node(level, first + i))
  })
  if (at < 0) throw nothingToProve()
  return pick(view, 'Pick-Node', 'Node', first + at)
}

/** The accused goes on behind the token with which the run ends: that token's checkpoint, equal to ours, stops too early. */
function endsLater(
  view: DisputeView,
  run: Retrace,
  them: Opponent,
  tree: DisputeTree,
): DisputeMessage | undefined {
  const count = run.checkpoints.length
  if (tree !== 'checkpoints' || them.statement.count <= count) return undefined
  const known = new KnownTree(them.statement.count)
  known.setAll(0, 0, run.checkpoints.map(checkpointLeaf))
  for (let level = known.height; level >= 0; level--) {
    for (let node = 0; node < known.width(level); node++) {
      const nodes = them.said.level('checkpoints', level, node)
      if (nodes === undefined) continue
      for (const [i, hash] of nodes.entries()) {
        if (level > 0 || node + i >= count) known.set(level, node + i, hash)
        else if (!equalBytes(hash, known.node(0, node + i))) return undefined
      }
    }
  }
  const path = known.path(count - 1)
  const last = run.checkpoints[count - 1]
  if (path === undefined || last === undefined) return undefined
  return structureProof(view.job, view.accused, count - 1, last, path)
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

/** The first row of the shown pair that differs, of positions below `before`. */
function wrongRow(run: Retrace, them: Opponent, pair: number, before: number): number | undefined {
  const shown = them.said.pages(pair)
  if (shown === undefined) return undefined
  const { page } = pairPlace(run, pair)
  const { headSize } = run.terms.manifest
  const own = [run.page(2 * pair), run.page(2 * pair + 1)] as const
  const rowOf = (bytes: Uint8Array, row: number) => {
    const at = PAGE_ROWS + row * 2 * headSize
    return Buffer.concat([bytes.subarray(row, row + 1), bytes.subarray(at, at + 2 * headSize)])
  }
  for (let row = 0; row < PAGE_ROWS && page * PAGE_ROWS + row < before; row++) {
    const differs = [shown.k, shown.v].some(
      (bytes, kind) => !equalBytes(rowOf(bytes, row), rowOf(own[kind] as Uint8Array, row)),
    )
    if (differs) return row
  }
  return undefined
}

function pickRow(view: DisputeView, run: Retrace, them: Opponent): DisputeMessage {
  const positions = run.terms.promptLength + Math.min(run.tokens.length, them.statement.count) - 1
  const row = wrongRow(run, them, answered(view.pages), positions)
  if (row === undefined) throw nothingToProve()
  return pick(view, 'Pick-Row', 'Row', row)
}

/** The layer stage whose shown page has a wrong row at this very position, which `link` proves. */
function wrongLink(view: DisputeView, run: Retrace, them: Opponent): number | undefined {
  const { pages, position } = view
  if (pages === undefined || position === undefined) return undefined
  const { page, layer } = pairPlace(run, pages)
  const row = wrongRow(run, them, pages, position + 1)
  return row !== undefined && page * PAGE_ROWS + row === position ? layer + 1 : undefined
}

function pickStage(view: DisputeView, run: Retrace, them: Opponent): DisputeMessage {
  return (
    answerProof(view, run, them, answered(view.position)) ??
    pick(view, 'Pick-Stage', 'Stage', wrongStage(view, run, them))
  )
}

/** The first stage that differs, or that has a wrong row. */
function wrongStage(view: DisputeView, run: Retrace, them: Opponent): number {
  const position = answered(view.position)
  const said = answered(them.said.stages(position))
  const own = stageDigests(run, position)
  const at = own.findIndex((digest, s) => !equalBytes(digest, said.digests[s]))
  const linked = wrongLink(view, run, them)
  const stage = linked !== undefined && (at < 0 || linked < at) ? linked : at
  if (stage < 0 || stage > (view.ceiling ?? stage)) throw nothingToProve()
  return stage
}

/** The accused's checkpoint breaks a rule by itself, or its token is ours and its piece is another. */
function answerProof(
  view: DisputeView,
  run: Retrace,
  them: Opponent,
  position: number,
): DisputeMessage | undefined {
  const answer = them.said.stages(position)
  const i = position - run.terms.promptLength + 1
  const { checkpoint, piece } = answer ?? {}
  if (checkpoint && breaksByItself(checkpoint.leaf, i, them.statement.count))
    return structureProof(view.job, view.accused, i, checkpoint.leaf, checkpoint.path)
  if (!checkpoint || !piece || !equalBytes(checkpoint.leaf, run.checkpoints[i])) return undefined
  if (equalBytes(piece.leaf, run.pieces[i])) return undefined
  const { leaf } = pieceAddress(run.terms.layout, tokenAt(run, position + 1))
  return {
    action: 'Prove-Answer',
    tags: { Job: view.job, Accused: view.accused, Index: String(i) },
    data: {
      piece: proven(piece.leaf, piece.path),
      checkpoint: proven(checkpoint.leaf, checkpoint.path),
      pieces: proven(run.bundleLeaf(leaf), run.bundlePath(leaf)),
    },
  }
}

function pickOperation(view: DisputeView, run: Retrace, them: Opponent): DisputeMessage {
  const position = answered(view.position)
  const proof = view.stage === undefined ? answerProof(view, run, them, position) : undefined
  if (proof) return proof
  const stage = view.stage ?? wrongStage(view, run, them)
  const operation = wrongOperation(view, run, them, position, stage)
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
function saidOperations(run: Retrace, { said }: Opponent, position: number, stage: number) {
  const own = said.operations(position, stage)
  if (own) return own
  const { operations, digests, advice } = answered(said.stages(position))
  return {
    digests: operationsOfStage(run.terms, position, stage, answered(operations)),
    advice: stage === digests.length - 1 ? advice : undefined,
  }
}

/** The first operation that does not follow from what the accused says of those before it. */
function wrongOperation(
  view: DisputeView,
  run: Retrace,
  them: Opponent,
  position: number,
  stage: number,
): number | undefined {
  const said = saidOperations(run, them, position, stage)
  const operations = planStage(run.terms, position, stage)
  const values = stageValues(run, position, stage, said.advice)
  const linked = wrongLink(view, run, them) === stage
  const at = operations.findIndex((operation, k) => {
    if (isAdvice(operation)) return false
    if (linked && operation.name === 'link') return true
    const leaves = values[k]
    return (
      leaves === undefined || !equalBytes(digestOfLeaves(operation, leaves.map(valueLeaf)), said.digests[k])
    )
  })
  return at < 0 ? undefined : at
}

function prove(view: DisputeView, run: Retrace, them: Opponent): DisputeMessage {
  const position = answered(view.position)
  const stage = answered(view.stage)
  const k = answered(view.operation)
  const operation = answered(planStage(run.terms, position, stage)[k])
  const values = stageValues(run, position, stage, them.said.operations(position, stage)?.advice)
  const c = wrongChunk(view, run, them, operation, values[k])
  const chunk = operation.chunk(c)
  const page = chunk.inputs.find(input => input.kind === 'page')
  const inputs = stepInputs(run, them, { position, stage }, values, chunk)
  if ('missing' in inputs) return pick(view, 'Ask-Pages', 'Page', inputs.missing)
  if (page && view.pages !== undefined && (view.moves ?? []).includes('Pick-Row')) {
    const row = wrongRow(run, them, view.pages, position + 1)
    if (row !== undefined) return pick(view, 'Pick-Row', 'Row', row)
  }
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
  run: Retrace,
  them: Opponent,
  operation: Operation,
  expected: readonly Uint8Array[] | undefined,
): number {
  const position = answered(view.position)
  const said = answered(them.said.chunks(position, operation.stage, answered(view.operation)))
  if (expected === undefined) return 0
  for (let c = 0, at = 0, leaf = 0; c < operation.chunks; c++) {
    const chunk = operation.chunk(c)
    for (; leaf < chunk.leaf; leaf++) at += operation.leafBytes(leaf)
    const bytes = expected[chunk.leaf] as Uint8Array
    const from = at + chunk.from
    const equal = showsValues(operation)
      ? equalBytes(
          bytes.subarray(chunk.from, chunk.from + chunk.length),
          said.values?.subarray(from, from + chunk.length),
        )
      : equalBytes(valueLeaf(bytes), said.leaves?.[chunk.leaf])
    if (!equal) return c
  }
  if (isCheck(operation) && view.pages !== undefined) {
    const { head } = pairPlace(run, view.pages)
    return 2 * head + wrongKind(run, them, view.pages, position)
  }
  throw nothingToProve()
}

/** Whether it is the K row of the position that is wrong, or the V row. */
function wrongKind(run: Retrace, them: Opponent, pair: number, position: number): 0 | 1 {
  const shown = answered(them.said.pages(pair))
  const row = position % PAGE_ROWS
  const { headSize } = run.terms.manifest
  const at = PAGE_ROWS + row * 2 * headSize
  const own = run.page(2 * pair)
  const keysEqual =
    own[row] === shown.k[row] &&
    equalBytes(own.subarray(at, at + 2 * headSize), shown.k.subarray(at, at + 2 * headSize))
  return keysEqual ? 1 : 0
}
