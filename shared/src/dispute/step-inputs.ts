import { checkpointLeaf, pageLeaf, pieceLeaf } from '../machine/commitments.ts'
import { embeddingLeaf, thresholdLeaf } from '../machine/inputs.ts'
import { planStage } from '../machine/plan.ts'
import type { Chunk, Input } from '../machine/steps.ts'
import type { StatementView } from '../protocol/dispute.ts'
import type { Evidence } from './evidence.ts'
import { KnownTree } from './known-tree.ts'
import { equalBytes } from './message.ts'
import { promptLeaves } from './prompt-tree.ts'
import type { Retrace } from './retrace.ts'
import type { Said } from './said.ts'
import type { StageValues } from './stage-values.ts'
import { pageLeafCount, pairIndex, wholeTree } from './trees.ts'
import { valueLeaf, valuePath } from './value-tree.ts'

const TOKENS_PER_LEAF = 64

/** Neighbouring leaves of one tree with the proof that they stand there. */
interface ProvenInput {
  readonly leaves: readonly Uint8Array[]
  readonly path: readonly Uint8Array[]
}

/** What the challenger knows of the accused. */
export interface Opponent {
  readonly statement: StatementView
  readonly said: Said
  /** Its leaves, when it or somebody else handed them over. */
  readonly evidence: Evidence | undefined
}

/** The accused's pages are needed and are not known: it has to be asked for this pair. */
export interface MissingPages {
  readonly missing: number
}

/**
 * A chunk's inputs as the referee reads them: every value is the accused's own, which up to this chunk equals the
 * run's. Errors: RangeError when the run and the accused cannot have come here together.
 */
export function stepInputs(
  run: Retrace,
  them: Opponent,
  place: { readonly position: number; readonly stage: number },
  values: StageValues,
  chunk: Chunk,
): ProvenInput[] | MissingPages {
  const found: ProvenInput[] = []
  for (const input of chunk.inputs) {
    const proven = proofOf(run, them, place, values, input)
    if ('missing' in proven) return proven
    found.push(...proven)
  }
  return found
}

function proofOf(
  run: Retrace,
  them: Opponent,
  { position, stage }: { readonly position: number; readonly stage: number },
  values: StageValues,
  input: Input,
): readonly ProvenInput[] | MissingPages {
  switch (input.kind) {
    case 'value':
      return [valueInput(run, position, stage, values, input)]
    case 'threshold': {
      const operations = planStage(run.terms, position, stage)
      const tau = known(values[operations.findIndex(o => o.name === input.operation)]?.[0])
      const scores = thresholdLeaf(stage, tau, run.terms.manifest.vocab)
      return scores ? [valueInput(run, position, stage, values, scores)] : []
    }
    case 'bundle':
      return [{ leaves: [run.bundleLeaf(input.leaf)], path: run.bundlePath(input.leaf) }]
    case 'embedding': {
      const leaf = embeddingLeaf(run.terms.layout, tokenAt(run, input.position))
      return [{ leaves: [run.bundleLeaf(leaf)], path: run.bundlePath(leaf) }]
    }
    case 'tokens':
      return tokenInputs(run, them, position, input.first, input.count)
    case 'page':
      return pageInput(run, them, input)
    case 'piece':
      return [pieceInput(run, them, position, input.n)]
  }
}

export const tokenAt = (run: Retrace, position: number): number => {
  const { promptLength } = run.terms
  const token = position < promptLength ? run.promptTokens[position] : run.tokens[position - promptLength]
  return known(token)
}

function valueInput(
  run: Retrace,
  position: number,
  stage: number,
  values: StageValues,
  input: Extract<Input, { readonly kind: 'value' }>,
): ProvenInput {
  const operations = planStage(run.terms, position, input.stage)
  const at = operations.findIndex(operation => operation.name === input.operation)
  const leaves = known(input.stage === stage ? values[at] : run.operations(position, input.stage)[at])
  return {
    leaves: leaves.slice(input.first, input.first + input.count),
    path: valuePath(known(operations[at]), leaves.map(valueLeaf), input.first, input.count),
  }
}

function tokenInputs(
  run: Retrace,
  them: Opponent,
  position: number,
  first: number,
  count: number,
): ProvenInput[] {
  const { promptLength } = run.terms
  const last = first + count - 1
  const proven: ProvenInput[] = []
  if (first < promptLength) {
    const leaves = promptLeaves(run.promptTokens)
    const from = Math.floor(first / TOKENS_PER_LEAF)
    const to = Math.floor(Math.min(last, promptLength - 1) / TOKENS_PER_LEAF)
    const path = wholeTree(leaves.map(leaf => leaf.hash)).rangePath(from, to - from + 1)
    proven.push({ leaves: leaves.slice(from, to + 1).map(leaf => leaf.bytes), path: known(path) })
  }
  if (last >= promptLength) {
    const from = Math.max(first, promptLength) - promptLength
    const to = last - promptLength
    const path = checkpointTree(run, them, position).rangePath(from, to - from + 1)
    proven.push({ leaves: run.checkpoints.slice(from, to + 1), path: known(path) })
  }
  return proven
}

/** The accused's checkpoints as far as they follow from its answer for this position and from the leaves before. */
function checkpointTree(run: Retrace, { statement, said, evidence }: Opponent, position: number): KnownTree {
  const i = position - run.terms.promptLength + 1
  const tree = new KnownTree(statement.count)
  if (evidence) tree.setAll(0, 0, evidence.checkpoints.map(checkpointLeaf))
  else tree.setAll(0, 0, run.checkpoints.slice(0, i).map(checkpointLeaf))
  const answer = said.stages(position)?.checkpoint
  if (answer) tree.setPath(0, i, checkpointLeaf(answer.leaf), answer.path)
  return tree
}

function pieceInput(run: Retrace, { statement, said }: Opponent, position: number, n: number): ProvenInput {
  const i = position - run.terms.promptLength + 1
  const newest = known(said.stages(position)?.piece)
  const tree = new KnownTree(statement.count)
  tree.setAll(0, 0, run.pieces.slice(0, i).map(pieceLeaf))
  tree.setPath(0, i, pieceLeaf(newest.leaf), newest.path)
  return { leaves: [n === i ? newest.leaf : known(run.pieces[n])], path: known(tree.path(n)) }
}

function pageInput(
  run: Retrace,
  { statement, said, evidence }: Opponent,
  place: Extract<Input, { readonly kind: 'page' }>,
): readonly ProvenInput[] | MissingPages {
  const pair = pairIndex(run, place)
  const index = 2 * pair + place.kv
  const shown = said.pages(pair)
  if (shown) {
    const tree = new KnownTree(pageLeafCount(run, statement.count))
    tree.setAll(0, 2 * pair, [pageLeaf(shown.k), pageLeaf(shown.v)])
    tree.setPath(1, pair, known(tree.node(1, pair)), shown.path)
    return [{ leaves: [place.kv === 0 ? shown.k : shown.v], path: known(tree.path(index)) }]
  }
  const page = run.page(index)
  if (!evidence || !equalBytes(pageLeaf(page), evidence.pageLeaves[index])) return { missing: pair }
  return [{ leaves: [page], path: known(wholeTree(evidence.pageLeaves).path(index)) }]
}

function known<T>(value: T | undefined): T {
  if (value === undefined) throw new RangeError('the run and the accused do not meet at this step')
  return value
}
