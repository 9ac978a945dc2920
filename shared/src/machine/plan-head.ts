import { STOP_LOOKBACK } from '../tokenizer/answer.ts'
import {
  IN_PARTS,
  leafwise,
  leavesOf,
  linear,
  norm,
  type RunTerms,
  residualName,
  value,
  valueBytes,
} from './plan-parts.ts'
import { isGreedy, tilesOf, usesTopK, usesTopP } from './sampler.ts'
import { LEAF_VALUES, OPERATION_VALUES, RANKED_BYTES, TILE_TOKENS } from './sizes.ts'
import type { Input, Operation, Step } from './steps.ts'

/** The operations of the head: final norm, logits, and how a token and its stop flag follow from them (SPEC.md §3.7). */
export function planHead(terms: RunTerms, position: number): Operation[] {
  const { manifest, layout, sampler } = terms
  const { layers, vocab, planes } = manifest
  const stage = layers + 1
  const scores = scoreOperations(terms, position, stage)
  const max = value(stage, 'max', 0)
  const topK = usesTopK(sampler, vocab) ? value(stage, 'topk.tau', 0) : undefined
  const topP = usesTopP(sampler) ? value(stage, 'topp.tau', 0) : undefined
  const thresholds = [topK, topP].filter(input => input !== undefined)
  const operations = [
    ...norm(terms, stage, 'nf', [layers, residualName(layers)], 2 * layers, planes.output),
    ...linear(stage, 'logits', layout.output, 'nf.quant'),
    ...scores,
    tilewise(terms, stage, 'max.tile', RANKED_BYTES, first => ({ kind: 'max.tile', first }), []),
    single(stage, 'max', RANKED_BYTES, { kind: 'best' }, [tiles(terms, stage, 'max.tile')]),
  ]
  if (topK) operations.push(...topKOperations(terms, stage, topK))
  if (topP) operations.push(...topPOperations(terms, stage, max, topP, topK))
  const chooser = isGreedy(sampler) ? 'max' : 'pick'
  if (chooser === 'pick') {
    const step = (first: number): Step => ({
      kind: 'pick.tile',
      first,
      noise: terms.noise,
      position: position + 1,
    })
    operations.push(
      tilewise(terms, stage, 'pick.tile', RANKED_BYTES, step, thresholds),
      single(stage, 'pick', RANKED_BYTES, { kind: 'best' }, [tiles(terms, stage, 'pick.tile')]),
    )
  }
  operations.push(stop(terms, position, stage, chooser))
  return operations
}

/** The scores leaf of a tile of tokens. */
function scoresLeaf(stage: number, tile: number): Input {
  const perOperation = OPERATION_VALUES / LEAF_VALUES
  return value(stage, `scores.${Math.floor(tile / perOperation)}`, tile % perOperation)
}

/** The whole of an operation that has something of every tile. */
const tiles = ({ manifest }: RunTerms, stage: number, name: string): Input =>
  value(stage, name, 0, leavesOf(tilesOf(manifest.vocab)))

function scoreOperations({ manifest, sampler }: RunTerms, position: number, stage: number): Operation[] {
  const count = Math.min(sampler.penaltyWindow, position + 1)
  const window: Input[] = count > 0 ? [{ kind: 'tokens', first: position + 1 - count, count }] : []
  return Array.from({ length: Math.ceil(manifest.vocab / OPERATION_VALUES) }, (_, i) => {
    const start = i * OPERATION_VALUES
    const tokens = Math.min(OPERATION_VALUES, manifest.vocab - start)
    return leafwise(stage, `scores.${i}`, leavesOf(tokens), valueBytes(tokens), leaf => ({
      step: { kind: 'scores', first: start + leaf * TILE_TOKENS, sampler },
      inputs: [value(stage, `logits.${i}`, leaf), ...window],
    }))
  })
}

/** An operation with `bytes` for every tile of 1024 tokens, a chunk each. */
function tilewise(
  { manifest }: RunTerms,
  stage: number,
  name: string,
  bytes: number,
  step: (first: number) => Step,
  inputs: readonly Input[],
): Operation {
  const count = tilesOf(manifest.vocab)
  return {
    stage,
    name,
    leaves: leavesOf(count),
    ...IN_PARTS,
    chunks: count,
    leafBytes: leaf => bytes * Math.min(LEAF_VALUES, count - leaf * LEAF_VALUES),
    chunk: tile => ({
      leaf: Math.floor(tile / LEAF_VALUES),
      from: bytes * (tile % LEAF_VALUES),
      length: bytes,
      step: step(tile * TILE_TOKENS),
      inputs: [scoresLeaf(stage, tile), ...inputs],
    }),
  }
}

/** An operation of one leaf; without a step it is advice. */
const single = (
  stage: number,
  name: string,
  bytes: number,
  step: Step | undefined,
  inputs: readonly Input[],
  isCheck = false,
): Operation =>
  leafwise(
    stage,
    name,
    1,
    () => bytes,
    () => ({ step, inputs }),
    { advice: step === undefined, check: isCheck },
  )

const check = (stage: number, name: string, step: Step, inputs: readonly Input[]): Operation =>
  single(stage, name, 1, step, inputs, true)

function topKOperations(terms: RunTerms, stage: number, tau: Input): Operation[] {
  const { topK } = terms.sampler
  const { vocab } = terms.manifest
  return [
    single(stage, 'topk.tau', RANKED_BYTES, undefined, []),
    tilewise(terms, stage, 'topk.count', 4, first => ({ kind: 'topk.count', first }), [tau]),
    check(stage, 'topk.check', { kind: 'topk.check', topK, vocab }, [
      tiles(terms, stage, 'topk.count'),
      tau,
      { kind: 'threshold', stage, operation: 'topk.tau' },
    ]),
  ]
}

function topPOperations(
  terms: RunTerms,
  stage: number,
  max: Input,
  tau: Input,
  topK: Input | undefined,
): Operation[] {
  const { topP } = terms.sampler
  const { vocab } = terms.manifest
  const kept = topK ? [topK] : []
  return [
    tilewise(terms, stage, 'topp.mass', 8, first => ({ kind: 'topp.mass', first }), [max, ...kept]),
    single(stage, 'topp.tau', RANKED_BYTES, undefined, []),
    tilewise(terms, stage, 'topp.before', 8, first => ({ kind: 'topp.before', first }), [max, tau, ...kept]),
    check(stage, 'topp.check', { kind: 'topp.check', topP, vocab }, [
      tiles(terms, stage, 'topp.mass'),
      tiles(terms, stage, 'topp.before'),
      max,
      tau,
      { kind: 'threshold', stage, operation: 'topp.tau' },
      ...kept,
    ]),
  ]
}

function stop(terms: RunTerms, position: number, stage: number, chooser: string): Operation {
  const { manifest, promptLength, maxTokens } = terms
  const n = position + 1 - promptLength
  const first = Math.max(0, n + 1 - STOP_LOOKBACK)
  const pieces: Input[] =
    terms.stop.length === 0
      ? []
      : Array.from({ length: n + 1 - first }, (_, i) => ({ kind: 'piece', n: first + i }))
  const step: Step = {
    kind: 'stop',
    n,
    promptLength,
    maximum: maxTokens,
    context: manifest.context,
    tokens: manifest.stop,
    strings: terms.stop,
  }
  return single(stage, 'stop', 5, step, [value(stage, chooser, 0), ...pieces])
}
