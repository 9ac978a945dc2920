import { isOverdue } from '@apus/shared/dispute'
import { type Logger, Loop } from '@apus/shared/kit'
import type { DisputeView } from '@apus/shared/protocol'

/** Clocks of disputes run for hours; a look at all of them is cheap (ms). */
const LOOK_INTERVAL_MS = 5_000
/** A tick that changed nothing, since network time lags behind, is not repeated sooner (ms). */
const PAUSE_MS = 30_000

export interface DisputeKeeperParts {
  readonly disputes: () => Iterable<DisputeView>
  /** Wall time (ms) at which network time reaches a deadline; undefined while the clock is not known. */
  readonly wallTimeOf: (deadline: number) => number | undefined
  readonly tick: () => Promise<unknown>
  readonly now: () => number
  readonly log: Logger
}

/** Ends disputes in which somebody has run out of time, by the one message that this takes. It takes no side. */
export class DisputeKeeper {
  readonly #parts: DisputeKeeperParts
  readonly #loop: Loop
  #tickedAt = Number.NEGATIVE_INFINITY

  constructor(parts: DisputeKeeperParts) {
    this.#parts = parts
    const onError = (err: unknown) =>
      parts.log.warn({ err }, 'A tick for disputes did not reach the network.')
    this.#loop = new Loop({ intervalMs: LOOK_INTERVAL_MS, onError }, () => this.#look())
  }

  start(): void {
    this.#loop.start()
  }

  stop(): Promise<void> {
    return this.#loop.stop()
  }

  async #look(): Promise<void> {
    const { disputes, wallTimeOf, tick, now } = this.#parts
    if (now() - this.#tickedAt < PAUSE_MS) return
    if (![...disputes()].some(dispute => isOverdue(dispute, wallTimeOf, now()))) return
    this.#tickedAt = now()
    await tick()
  }
}
