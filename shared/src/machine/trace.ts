import type { RunRequest } from './engine.ts'
import type { Model } from './model.ts'
import { planStage, stageCount } from './plan.ts'
import { choosesAt, type RunTerms } from './plan-parts.ts'
import { RunRecorder } from './run-recorder.ts'
import { samplerTrace } from './sampler-trace.ts'
import { atOnce, type OperationListener, type Sequence } from './sequence.ts'
import type { Operation } from './steps.ts'
import { encodeStop } from './stop.ts'
import { operationDigest } from './value-tree.ts'

/** An operation with what it gave. */
export interface TracedOperation {
  readonly operation: Operation
  readonly leaves: readonly Uint8Array[]
  readonly digest: Uint8Array
}

/** What a party to a dispute says of one position. */
export interface PositionTrace {
  /** The digest of every stage. */
  readonly stages: readonly Uint8Array[]
  /** By stage, of those asked for, the operations in the plan's order. */
  readonly operations: ReadonlyMap<number, readonly TracedOperation[]>
}

/** What fixes the plan of a run of this model. */
export const runTerms = ({ manifest, layout }: Model, request: RunRequest): RunTerms => ({
  manifest,
  layout,
  promptLength: request.prompt.length,
  sampler: request.sampler,
  noise: request.noise,
  maxTokens: request.maxTokens,
  stop: request.stop,
})

/**
 * Feeds the sequence its next token and tells what every stage gave, with the operations of the stages in `wanted`.
 * @param tokens of the whole sequence, prompt and chosen, at least up to this position
 */
export const tracePosition = (
  sequence: Sequence,
  terms: RunTerms,
  tokens: readonly number[],
  wanted: (stage: number) => boolean,
): PositionTrace => atOnce(traceLayerwise(sequence, terms, tokens, wanted))

/** The same with a pause after every layer; nothing else may be fed until it ends. */
export function* traceLayerwise(
  sequence: Sequence,
  terms: RunTerms,
  tokens: readonly number[],
  wanted: (stage: number) => boolean,
): Generator<undefined, PositionTrace> {
  const { position } = sequence
  const plans = Array.from({ length: stageCount(terms, position) }, (_, s) => planStage(terms, position, s))
  const stages: Uint8Array[] = []
  const operations = new Map<number, TracedOperation[]>()
  const seen = plans.map(() => 0)
  const record: OperationListener = (stage, name, encode) => {
    const plan = plans[stage] ?? []
    const index = seen[stage] ?? 0
    const operation = plan[index]
    if (operation?.name !== name)
      throw new RangeError(`the plan of stage ${stage} has no ${name} at ${index}`)
    seen[stage] = index + 1
    const isLast = index === plan.length - 1
    if (!isLast && !wanted(stage)) return
    const leaves = encode()
    const digest = operationDigest(leaves, operation.leavesPerRun)
    if (isLast) stages[stage] = digest
    if (wanted(stage))
      operations.set(stage, [...(operations.get(stage) ?? []), { operation, leaves, digest }])
  }
  const x = yield* sequence.layerwise(tokens[position] as number, choosesAt(terms, position), record)
  if (x) traceHead(sequence, terms, tokens.slice(0, position + 1), sequence.logits(x, record), record)
  return { stages, operations }
}

/** Tells of everything from the scores on. */
function traceHead(
  { model }: Sequence,
  terms: RunTerms,
  tokens: readonly number[],
  logits: Int32Array,
  record: OperationListener,
): void {
  const stage = model.manifest.layers + 1
  const run = new RunRecorder(model, terms, tokens)
  const choice = run.choose(logits)
  for (const [name, leaves] of samplerTrace(choice, terms, tokens.length)) record(stage, name, () => leaves)
  const flag = run.take(choice.token)
  record(stage, 'stop', () => [encodeStop(choice.token, flag)])
}
