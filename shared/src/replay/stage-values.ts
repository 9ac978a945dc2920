import { type InputSource, readInput } from '../machine/inputs.ts'
import { planStage } from '../machine/plan.ts'
import { recompute } from '../machine/recompute.ts'
import { RANKED_BYTES } from '../machine/sizes.ts'
import type { Chunk, Operation } from '../machine/steps.ts'
import type { Replay } from './replay.ts'

/** Leaves of a stage's operations in the plan's order. */
export type StageValues = (readonly Uint8Array[])[]

const LEGAL = 1

/**
 * The values that a stage has to have when its advice is what the accused says: the run's own up to the first advice
 * that differs, from there on recomputed. Ends with the check that an advice fails, which has no legal value.
 */
export function stageValues(
  run: Replay,
  position: number,
  stage: number,
  advice: Uint8Array | undefined,
): StageValues {
  const own = run.operations(position, stage)
  const operations = planStage(run.terms, position, stage)
  const values: StageValues = []
  let taken = 0
  let followsOther = false
  for (const [k, operation] of operations.entries()) {
    const mine = own[k] ?? []
    if (operation.advice && advice !== undefined) {
      const said = advice.slice(taken, taken + RANKED_BYTES)
      taken += RANKED_BYTES
      if (Buffer.compare(said, mine[0] as Uint8Array) !== 0) followsOther = true
      values.push([said])
    } else if (!followsOther) {
      values.push(mine)
    } else {
      const leaves = recomputed(run, operations, operation, values, position)
      if (leaves === undefined) return values
      values.push(leaves)
    }
  }
  return values
}

/** An operation's leaves from those before it, or undefined for a check that they fail. */
function recomputed(
  run: Replay,
  operations: readonly Operation[],
  operation: Operation,
  values: StageValues,
  position: number,
): Uint8Array[] | undefined {
  const leaves = Array.from({ length: operation.leaves }, (_, i) => new Uint8Array(operation.leafBytes(i)))
  for (let c = 0; c < operation.chunks; c++) {
    const chunk = operation.chunk(c)
    const bytes = chunkOf(run, operations, chunk, values, position)
    if (bytes === undefined || (operation.check && bytes[0] !== LEGAL)) return undefined
    leaves[chunk.leaf]?.set(bytes, chunk.from)
  }
  return leaves
}

function chunkOf(
  run: Replay,
  operations: readonly Operation[],
  { step, inputs }: Chunk,
  values: StageValues,
  position: number,
): Uint8Array | undefined {
  if (step === undefined) return undefined
  const source = sourceOf(run, operations, values)
  try {
    return recompute(
      step,
      inputs.map(input => readInput(input, source)),
    )
  } catch (error) {
    // An advice may name a token that there is not, or mass that nobody has.
    if (error instanceof RangeError) return undefined
    throw new Error(`a step of position ${position} cannot be recomputed`, { cause: error })
  }
}

/** Reads what the head's operations behind an advice read: values, thresholds, tokens and pieces. */
function sourceOf(run: Replay, operations: readonly Operation[], values: StageValues): InputSource {
  const none = (): never => {
    throw new RangeError('no operation after an advice reads pages or weights')
  }
  const { promptLength, manifest, layout } = run.terms
  return {
    layout,
    vocab: manifest.vocab,
    value: (_stage, name) => values[operations.findIndex(operation => operation.name === name)] ?? [],
    bundle: none,
    page: none,
    token: at => (at < promptLength ? run.promptTokens[at] : run.tokens[at - promptLength]) ?? none(),
    piece: n => run.pieces[n] ?? none(),
  }
}
