import { type InputSource, readInput } from '../machine/inputs.ts'
import { planStage, stageCount } from '../machine/plan.ts'
import { recompute } from '../machine/recompute.ts'
import { RANKED_BYTES } from '../machine/sizes.ts'
import type { Chunk, Operation } from '../machine/steps.ts'
import { operationDigest } from '../machine/value-tree.ts'
import type { Replay } from './replay.ts'

const LEGAL = 1

/** One stage of a run with what the moves of a dispute read of it: its plan, its values and their digests, each made once. */
export class DisputedStage {
  readonly run: Replay
  readonly position: number
  readonly stage: number
  readonly plan: readonly Operation[]
  readonly #values: (readonly Uint8Array[])[] = []
  readonly #digests: Uint8Array[] = []

  /** @param advice what an accused says of the advice of the stage; the run's own unless given */
  constructor(run: Replay, position: number, stage: number, advice?: Uint8Array) {
    this.run = run
    this.position = position
    this.stage = stage
    this.plan = planStage(run.terms, position, stage)
    for (const leaves of this.#following(advice)) this.#values.push(leaves)
  }

  /**
   * Leaves of an operation, as they have to be when the advice is what the accused says; undefined from the check on that
   * an advice fails, which has no legal value.
   */
  value(k: number): readonly Uint8Array[] | undefined {
    return this.#values[k]
  }

  /** Place of the operation with this name. */
  indexOf(name: string): number {
    return this.plan.findIndex(operation => operation.name === name)
  }

  operationDigest(k: number): Uint8Array | undefined {
    const leaves = this.#values[k]
    if (leaves) this.#digests[k] ??= operationDigest(leaves, this.plan[k]?.leavesPerRun)
    return this.#digests[k]
  }

  /** The stage's own digest: that of its last operation. */
  get digest(): Uint8Array | undefined {
    return this.operationDigest(this.plan.length - 1)
  }

  /** The run's own values up to the first advice that differs, from there on recomputed. */
  *#following(advice: Uint8Array | undefined): Generator<readonly Uint8Array[]> {
    const own = this.run.operations(this.position, this.stage)
    let taken = 0
    let followsOther = false
    for (const [k, operation] of this.plan.entries()) {
      const mine = own[k] ?? []
      if (operation.advice && advice !== undefined) {
        const said = advice.slice(taken, taken + RANKED_BYTES)
        taken += RANKED_BYTES
        if (Buffer.compare(said, mine[0] as Uint8Array) !== 0) followsOther = true
        yield [said]
        continue
      }
      const leaves = followsOther ? this.#recomputed(operation) : mine
      if (leaves === undefined) return
      yield leaves
    }
  }

  /** An operation's leaves from those before it, or undefined for a check that they fail. */
  #recomputed(operation: Operation): Uint8Array[] | undefined {
    const leaves = Array.from({ length: operation.leaves }, (_, i) => new Uint8Array(operation.leafBytes(i)))
    for (let c = 0; c < operation.chunks; c++) {
      const chunk = operation.chunk(c)
      const bytes = this.#chunk(chunk)
      if (bytes === undefined || (operation.check && bytes[0] !== LEGAL)) return undefined
      leaves[chunk.leaf]?.set(bytes, chunk.from)
    }
    return leaves
  }

  #chunk({ step, inputs }: Chunk): Uint8Array | undefined {
    if (step === undefined) return undefined
    const source = this.#source()
    try {
      return recompute(
        step,
        inputs.map(input => readInput(input, source)),
      )
    } catch (error) {
      // An advice may name a token that there is not, or mass that nobody has.
      if (error instanceof RangeError) return undefined
      throw new Error(`a step of position ${this.position} cannot be recomputed`, { cause: error })
    }
  }

  /** Reads what the head's operations behind an advice read: values, thresholds, tokens and pieces. */
  #source(): InputSource {
    const { run } = this
    const none = (): never => {
      throw new RangeError('no operation behind an advice reads pages or weights')
    }
    const { promptLength, manifest, layout } = run.terms
    return {
      layout,
      vocab: manifest.vocab,
      value: (_stage, name) => this.value(this.indexOf(name)) ?? [],
      bundle: none,
      page: none,
      token: at => (at < promptLength ? run.promptTokens[at] : run.tokens[at - promptLength]) ?? none(),
      piece: n => run.pieces[n] ?? none(),
    }
  }
}

/** All stages of a position. */
export const stagesAt = (run: Replay, position: number): DisputedStage[] =>
  Array.from(
    { length: stageCount(run.terms, position) },
    (_, stage) => new DisputedStage(run, position, stage),
  )
