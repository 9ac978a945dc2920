import { ApusError } from '@apus/shared/kit'
import type { NoiseKey } from '@apus/shared/machine'
import { Q16_ONE, type SamplerSettings } from '@apus/shared/protocol'
import type { MemoryPlan } from './memory-plan.ts'
import type { PageCache } from './page-cache.ts'
import { SETTINGS_WORDS } from './sizes.ts'
import type { Column } from './team.ts'
import type { ThreadTeam } from './thread-team.ts'

/** A position whose token is fed and whose successor is chosen. */
export interface Step {
  readonly position: number
  readonly token: number
  readonly sampler: SamplerSettings
  readonly noise: NoiseKey
  /** The tokens that the penalties look back on, at most 64. */
  readonly recent: readonly number[]
}

export interface Chosen {
  readonly token: number
  /** The residual after the last layer. */
  readonly xFinal: Int32Array
}

/** One run's place in the batches: prompt tokens still to feed, then one step at a time. */
interface Lane {
  readonly sequence: number
  feed: readonly number[]
  fed: number
  step: Step | undefined
  waiting: PromiseWithResolvers<Chosen> | undefined
}

/**
 * Computes the steps of several runs together, so that the weights are read once for all; prompts are fed in the columns that
 * remain.
 */
export class Batcher {
  readonly #plan: MemoryPlan
  readonly #team: ThreadTeam
  readonly #cache: PageCache
  readonly #width: number
  readonly #words: Int32Array
  readonly #lanes = new Map<number, Lane>()
  #running = false

  constructor(
    width: number,
    plan: MemoryPlan,
    memories: readonly WebAssembly.Memory[],
    team: ThreadTeam,
    cache: PageCache,
  ) {
    this.#plan = plan
    this.#team = team
    this.#cache = cache
    this.#width = width
    this.#words = new Int32Array((memories[plan.head.shard] as WebAssembly.Memory).buffer)
  }

  /** Begins a run: `prompt` without its last token. */
  enter(sequence: number, prompt: readonly number[]): void {
    this.#lanes.set(sequence, { sequence, feed: prompt, fed: 0, step: undefined, waiting: undefined })
  }

  /** Ends a run; nothing of it is being computed then. */
  async leave(sequence: number): Promise<void> {
    const lane = this.#lanes.get(sequence)
    const waiting = lane?.waiting
    this.#lanes.delete(sequence)
    if (lane === undefined || waiting === undefined) return
    lane.feed = []
    lane.step = undefined
    await this.#team.idle()
    waiting.reject(new ApusError('aborted', 'The run was stopped.', { retry: true }))
  }

  /** Computes the run's next step, after its prompt. */
  next(sequence: number, step: Step): Promise<Chosen> {
    const lane = this.#lanes.get(sequence) as Lane
    lane.step = step
    lane.waiting = Promise.withResolvers()
    const { promise } = lane.waiting
    // A run that leaves in the middle does not wait for it.
    promise.catch(() => {})
    if (!this.#running) void this.#work()
    return promise
  }

  async #work(): Promise<void> {
    this.#running = true
    while ([...this.#lanes.values()].some(lane => lane.step !== undefined)) {
      try {
        this.#deliver(await this.#team.compute(() => this.#prepare()))
      } catch (error) {
        this.#fail(error)
      }
    }
    this.#running = false
  }

  #settings(head: number): number {
    return this.#plan.head.settings / 4 + head * SETTINGS_WORDS
  }

  /** Made as late as can be: whoever was given a token is back with its next step by then, and who left is gone. */
  #prepare(): Batch {
    const batch = nextBatch([...this.#lanes.values()], this.#plan.limits)
    for (const [i, lane] of batch.choosing.entries())
      this.#words.set(settingsOf(lane.step as Step), this.#settings(i))
    return batch
  }

  #deliver({ columns, choosing }: Batch): void {
    for (const { sequence, position } of columns) this.#cache.written(sequence, position)
    const x = (this.#plan.shards[this.#plan.head.shard]?.x ?? 0) / 4
    for (const [i, lane] of choosing.entries()) {
      const token = this.#words[this.#settings(i)] as number
      const xFinal = this.#words.slice(x + i * this.#width, x + (i + 1) * this.#width)
      lane.step = undefined
      lane.waiting?.resolve({ token, xFinal })
      lane.waiting = undefined
    }
  }

  #fail(error: unknown): void {
    for (const lane of this.#lanes.values()) {
      lane.waiting?.reject(error)
      lane.waiting = undefined
      lane.feed = []
      lane.step = undefined
    }
  }
}

interface Batch {
  readonly columns: readonly Column[]
  /** The lanes of the first columns, which choose tokens. */
  readonly choosing: readonly Lane[]
}

/** Steps first, then prompt tokens; a run whose prompt ends within the batch takes its step in it. */
function nextBatch(lanes: readonly Lane[], limits: { columns: number; choosing: number }): Batch {
  const ready = lanes
    .filter(lane => lane.step !== undefined && lane.feed.length === 0)
    .slice(0, limits.choosing)
  const choosing = [...ready]
  const fed: Column[] = []
  for (const lane of lanes) {
    if (lane.step === undefined || lane.feed.length === 0) continue
    const room = limits.columns - choosing.length - fed.length
    const ends = lane.feed.length < room && choosing.length < limits.choosing
    const tokens = lane.feed.slice(0, ends ? lane.feed.length : Math.max(0, room))
    for (const token of tokens) fed.push({ sequence: lane.sequence, position: lane.fed++, token })
    lane.feed = lane.feed.slice(tokens.length)
    if (ends) choosing.push(lane)
  }
  const steps = choosing.map(({ sequence, step }) => {
    const { position, token } = step as Step
    return { sequence, position, token }
  })
  return { columns: [...steps, ...fed], choosing }
}

function settingsOf({ sampler, noise, recent, position }: Step): Int32Array {
  const { temperature, topK, topP, repeatPenalty, frequencyPenalty, presencePenalty } = sampler
  const penalised = repeatPenalty !== Q16_ONE || frequencyPenalty !== 0 || presencePenalty !== 0
  const window = penalised ? recent : []
  return Int32Array.of(
    temperature,
    topK,
    topP,
    repeatPenalty,
    frequencyPenalty,
    presencePenalty,
    window.length,
    ...noise,
    position + 1,
    ...window,
  )
}
