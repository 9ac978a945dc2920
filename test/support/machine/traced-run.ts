import { type BundleReader, Oracle, type RunRequest, type RunResult } from '@apus/shared/machine'
import type { InputSource } from '../../../shared/src/machine/inputs.ts'
import { Model } from '../../../shared/src/machine/model.ts'
import type { RunTerms } from '../../../shared/src/machine/plan-parts.ts'
import { Page } from '../../../shared/src/machine/rows.ts'
import { Sequence } from '../../../shared/src/machine/sequence.ts'
import { type PositionTrace, runTerms, tracePosition } from '../../../shared/src/machine/trace.ts'

export interface TracedRun {
  readonly model: Model
  readonly terms: RunTerms
  readonly tokens: readonly number[]
  readonly result: RunResult
  readonly positions: ReadonlyMap<number, PositionTrace>
  /** Inputs of a position's chunks, pages as they are after the run. */
  source(position: number): InputSource
}

/** Runs the oracle and traces every stage of some positions. */
export async function tracedRun(
  bundle: BundleReader,
  request: RunRequest,
  wanted: readonly number[],
): Promise<TracedRun> {
  const result = await new Oracle(bundle).run(request, new AbortController().signal)
  const model = new Model(bundle)
  const terms = runTerms(model, request)
  const tokens = [...request.prompt, ...result.tokens]
  const positions = new Map<number, PositionTrace>()
  const sequence = new Sequence(model)
  for (let position = 0; position < tokens.length - 1; position++) {
    if (wanted.includes(position))
      positions.set(
        position,
        tracePosition(sequence, terms, tokens, () => true),
      )
    else sequence.feed(tokens[position]!, false)
  }
  const source = (position: number): InputSource => ({
    layout: model.layout,
    vocab: model.manifest.vocab,
    value: (stage, operation) =>
      positions
        .get(position)!
        .operations.get(stage)!
        .find(traced => traced.operation.name === operation)!.leaves,
    bundle: leaf => bundle.leaf(leaf),
    page: (page, layer, head, kv) =>
      (sequence.page(page, layer, head, kv) ?? new Page(model.manifest.headSize)).encode(),
    token: at => tokens[at]!,
    piece: n => model.pieces[result.tokens[n]!]!,
  })
  return { model, terms, tokens, result, positions, source }
}
