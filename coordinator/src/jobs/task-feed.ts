import { backoff, type Clock, describeError, errorCode, type Logger, Loop } from '@apus/shared/kit'
import type { HandOut, JobBoard } from './job-board.ts'
import type { Task } from './task.ts'

const FIRST_RETRY_MS = 500
const LONGEST_RETRY_MS = 10_000
/** Tasks are posted anew this often, so that a store that lost its memory gets them back (ms). */
const REPOST_MS = 60_000
/** Tasks in one call to the board. */
const BATCH = 500

export type BoardState = 'connecting' | 'ready' | 'failing'

/** Keeps the board equal to the work there is: posts what is new, takes down what is over, through outages of the board. */
export class TaskFeed {
  readonly #board: JobBoard
  readonly #handOut: HandOut
  readonly #time: Clock
  readonly #log: Logger
  readonly #loop: Loop
  #wanted: ReadonlyMap<Task['id'], Task> = new Map()
  readonly #posted = new Map<Task['id'], number>()
  #opened = false
  #failures = 0
  #retryAt = 0

  constructor(parts: {
    readonly board: JobBoard
    readonly handOut: HandOut
    readonly time: Clock
    readonly log: Logger
  }) {
    this.#board = parts.board
    this.#handOut = parts.handOut
    this.#time = parts.time
    this.#log = parts.log
    this.#loop = new Loop({ intervalMs: FIRST_RETRY_MS, onError: error => this.#failed(error) }, () =>
      this.#turn(),
    )
  }

  get state(): BoardState {
    if (this.#failures > 0) return 'failing'
    return this.#opened ? 'ready' : 'connecting'
  }

  start(): void {
    this.#loop.start()
  }

  /** Says what all the work is now. */
  want(tasks: readonly Task[]): void {
    this.#wanted = new Map(tasks.map(task => [task.id, task]))
    if (this.#fresh().length > 0 || this.#over().length > 0) this.#loop.trigger()
  }

  async stop(): Promise<void> {
    await this.#loop.stop()
    await this.#board.close()
  }

  async #turn(): Promise<void> {
    if (this.#time.now() < this.#retryAt) return
    if (!this.#opened) {
      await this.#board.open(this.#handOut)
      this.#opened = true
    }
    if (this.#failures > 0) await this.#board.counts()
    const fresh = this.#fresh()
    for (let i = 0; i < fresh.length; i += BATCH) {
      const batch = fresh.slice(i, i + BATCH)
      await this.#board.post(batch)
      for (const task of batch) this.#posted.set(task.id, this.#time.now())
    }
    const over = this.#over().slice(0, BATCH)
    if (over.length > 0) await this.#board.drop(over)
    for (const id of over) this.#posted.delete(id)
    if (this.#failures > 0) this.#log.info('The job board answers again.')
    this.#failures = 0
  }

  #fresh(): Task[] {
    const before = this.#time.now() - REPOST_MS
    return [...this.#wanted.values()].filter(task => (this.#posted.get(task.id) ?? before - 1) < before)
  }

  #over(): Task['id'][] {
    return [...this.#posted.keys()].filter(id => !this.#wanted.has(id))
  }

  #failed(error: unknown): void {
    this.#failures += 1
    this.#retryAt = this.#time.now() + backoff(this.#failures, FIRST_RETRY_MS, LONGEST_RETRY_MS)
    const fields = { code: errorCode(error), reason: describeError(error) }
    if (this.#failures === 1) this.#log.warn(fields, 'The job board does not answer; trying until it does.')
    else this.#log.debug(fields, 'The job board still does not answer.')
  }
}
