/** One run waiting for or using a model. */
export interface Ticket {
  readonly key: string
  /** The model that must be free. */
  readonly lane: string
  /** Smaller runs first: the job's deadline. */
  readonly order: number
  run(signal: AbortSignal): Promise<void>
}

interface Running {
  readonly ticket: Ticket
  readonly abort: AbortController
  readonly done: Promise<void>
}

/** Runs that share models: so many of a lane at a time, the earliest deadline first, each one cancellable. */
export class RunQueue {
  readonly #perLane: number
  readonly #waiting = new Map<string, Ticket>()
  readonly #running = new Map<string, Running>()

  constructor(perLane: number) {
    this.#perLane = perLane
  }

  get waiting(): number {
    return this.#waiting.size
  }

  get running(): number {
    return this.#running.size
  }

  has(key: string): boolean {
    return this.#waiting.has(key) || this.#running.has(key)
  }

  /** Adds a run unless one with the same key is there. */
  add(ticket: Ticket): void {
    if (this.has(ticket.key)) return
    this.#waiting.set(ticket.key, ticket)
    this.#next()
  }

  cancel(key: string, reason: Error): void {
    this.#waiting.delete(key)
    this.#running.get(key)?.abort.abort(reason)
  }

  /** Cancels everything and waits until the runs have ended. */
  async cancelAll(reason: Error): Promise<void> {
    this.#waiting.clear()
    const running = [...this.#running.values()]
    for (const { abort } of running) abort.abort(reason)
    await Promise.all(running.map(r => r.done))
  }

  #next(): void {
    const inOrder = [...this.#waiting.values()].toSorted((a, b) => a.order - b.order)
    for (const ticket of inOrder) {
      const busy = [...this.#running.values()].filter(r => r.ticket.lane === ticket.lane).length
      if (busy < this.#perLane) this.#start(ticket)
    }
  }

  #start(ticket: Ticket): void {
    this.#waiting.delete(ticket.key)
    const abort = new AbortController()
    // `run` reports its own failures; nothing may leave here.
    const done = Promise.resolve()
      .then(() => ticket.run(abort.signal))
      .catch(() => {})
      .then(() => {
        this.#running.delete(ticket.key)
        this.#next()
      })
    this.#running.set(ticket.key, { ticket, abort, done })
  }
}
