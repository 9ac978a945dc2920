import { KnownTree, wholeTree } from '../hashing/known-tree.ts'
import { pageLeaf, pieceLeaf } from '../machine/digests.ts'
import { embeddingLeaf, thresholdLeaf } from '../machine/inputs.ts'
import { pageLeafCount, pairIndex } from '../machine/pages.ts'
import { promptLeaves } from '../machine/prompt-tree.ts'
import { PROMPT_LEAF_TOKENS } from '../machine/sizes.ts'
import type { Chunk, Input } from '../machine/steps.ts'
import { valueLeaf, valuePath } from '../machine/value-tree.ts'
import type { RevealedResult } from '../protocol/dispute.ts'
import { DisputedStage } from '../replay/disputed-stage.ts'
import type { Replay } from '../replay/replay.ts'
import type { SeatAnswers } from './seat-answers.ts'

/** Neighbouring leaves of one tree with the proof that they stand there. */
interface ProvenInput {
  readonly leaves: readonly Uint8Array[]
  readonly path: readonly Uint8Array[]
}

/** What the challenger knows of the accused: what it revealed and has answered. */
export interface Accused {
  readonly result: RevealedResult
  readonly answers: SeatAnswers
}

/**
 * A chunk's inputs as the referee reads them: every value is the accused's own, which up to this chunk equals the
 * run's. Errors: RangeError when the run and the accused cannot have come here together.
 * @param shown the pair of pages that the accused has shown, through which the dispute came here
 */
export const stepInputs = (
  disputed: DisputedStage,
  accused: Accused,
  shown: number | undefined,
  chunk: Chunk,
): ProvenInput[] => chunk.inputs.flatMap(input => proofOf(disputed, accused, shown, input))

function proofOf(
  disputed: DisputedStage,
  accused: Accused,
  shown: number | undefined,
  input: Input,
): readonly ProvenInput[] {
  const { run, stage } = disputed
  switch (input.kind) {
    case 'value':
      return [valueInput(disputed, input)]
    case 'threshold': {
      const tau = known(disputed.value(disputed.indexOf(input.operation))?.[0])
      const scores = thresholdLeaf(stage, tau, run.terms.manifest.vocab)
      return scores ? [valueInput(disputed, scores)] : []
    }
    case 'bundle':
      return [{ leaves: [run.bundleLeaf(input.leaf)], path: run.bundlePath(input.leaf) }]
    case 'embedding': {
      const leaf = embeddingLeaf(run.terms.layout, tokenAt(run, input.position))
      return [{ leaves: [run.bundleLeaf(leaf)], path: run.bundlePath(leaf) }]
    }
    case 'tokens':
      return promptInputs(run, input.first, input.count)
    case 'page':
      return [pageInput(run, accused, shown, input)]
    case 'piece':
      return [pieceInput(run, input.n)]
  }
}

export const tokenAt = (run: Replay, position: number): number => {
  const { promptLength } = run.terms
  const token = position < promptLength ? run.promptTokens[position] : run.tokens[position - promptLength]
  return known(token)
}

function valueInput(disputed: DisputedStage, input: Extract<Input, { readonly kind: 'value' }>): ProvenInput {
  const { run, position, stage } = disputed
  const at = input.stage === stage ? disputed : new DisputedStage(run, position, input.stage)
  const k = at.indexOf(input.operation)
  const leaves = known(at.value(k))
  return {
    leaves: leaves.slice(input.first, input.first + input.count),
    path: valuePath(known(at.plan[k]), leaves.map(valueLeaf), input.first, input.count),
  }
}

/** The tokens of the prompt among these; those that the accused chose it has revealed. */
function promptInputs(run: Replay, first: number, count: number): ProvenInput[] {
  const end = Math.min(first + count, run.terms.promptLength)
  if (first >= end) return []
  const leaves = promptLeaves(run.promptTokens)
  const from = Math.floor(first / PROMPT_LEAF_TOKENS)
  const to = Math.floor((end - 1) / PROMPT_LEAF_TOKENS)
  const path = wholeTree(leaves.map(leaf => leaf.hash)).rangePath(from, to - from + 1)
  return [{ leaves: leaves.slice(from, to + 1).map(leaf => leaf.bytes), path: known(path) }]
}

function pieceInput(run: Replay, n: number): ProvenInput {
  return { leaves: [known(run.pieces[n])], path: known(wholeTree(run.pieces.map(pieceLeaf)).path(n)) }
}

/** A page that both have; of the pair that the accused has shown, its own. */
function pageInput(
  run: Replay,
  { result, answers }: Accused,
  shownPair: number | undefined,
  place: Extract<Input, { readonly kind: 'page' }>,
): ProvenInput {
  const pair = pairIndex(run, place)
  const index = 2 * pair + place.kv
  const tree = new KnownTree(pageLeafCount(run, result.count))
  const shown = shownPair === undefined ? undefined : answers.pages(shownPair)
  if (shownPair === undefined || shown === undefined) tree.setAll(0, 0, run.pageLeaves)
  else {
    // All before it are equal, and its path tells what is beside it.
    tree.setAll(0, 0, run.pageLeaves.slice(0, 2 * shownPair))
    tree.setAll(0, 2 * shownPair, [pageLeaf(shown.k), pageLeaf(shown.v)])
    tree.setPath(1, shownPair, known(tree.node(1, shownPair)), shown.path)
  }
  const page = pair === shownPair ? (place.kv === 0 ? shown?.k : shown?.v) : run.page(index)
  return { leaves: [known(page)], path: known(tree.path(index)) }
}

function known<T>(value: T | undefined): T {
  if (value === undefined) throw new RangeError('the run does not have what this step of the accused needs')
  return value
}
