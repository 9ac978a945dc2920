import { sleep } from './time.ts'

export interface LoopOptions {
  readonly intervalMs: number
  /** Told of every failed turn; the loop goes on. */
  readonly onError: (error: unknown) => void
}

/** Runs one turn at a time, again after an interval or at once when triggered; `stop` waits for the current turn. */
export class Loop {
  readonly #turn: (signal: AbortSignal) => Promise<void>
  readonly #options: LoopOptions
  readonly #abort = new AbortController()
  #running: Promise<void> | undefined
  #wake: (() => void) | undefined
  #triggered = false

  constructor(options: LoopOptions, turn: (signal: AbortSignal) => Promise<void>) {
    this.#options = options
    this.#turn = turn
  }

  start(): void {
    this.#running ??= this.#run()
  }

  /** Makes the next turn begin at once, or directly after the one in progress. */
  trigger(): void {
    this.#triggered = true
    this.#wake?.()
  }

  async stop(): Promise<void> {
    this.#abort.abort()
    this.#wake?.()
    await this.#running
  }

  async #run(): Promise<void> {
    const { signal } = this.#abort
    while (!signal.aborted) {
      this.#triggered = false
      try {
        await this.#turn(signal)
      } catch (error) {
        if (!signal.aborted) this.#options.onError(error)
      }
      if (!this.#triggered && !signal.aborted) await this.#pause(signal)
    }
  }

  async #pause(signal: AbortSignal): Promise<void> {
    const woken = new Promise<void>(resolve => {
      this.#wake = resolve
    })
    const timer = new AbortController()
    await Promise.race([
      woken,
      sleep(this.#options.intervalMs, AbortSignal.any([signal, timer.signal])).catch(() => {}),
    ])
    timer.abort()
    this.#wake = undefined
  }
}
