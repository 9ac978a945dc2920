import type { Logger } from '../kit/logger.ts'
import { Loop } from '../kit/loop.ts'
import type { Clock } from '../kit/time.ts'
import type { Address, JobId } from '../protocol/identity.ts'
import type { JobView, SeatView } from '../protocol/job.ts'
import type { ClockSeen } from './clock-seen.ts'
import { nextMove, type TickReason } from './next-move.ts'
import { pauseAfter, planTick, type TickPlan, type Watched, type Wish, watch } from './tick-plan.ts'

/** A look at all jobs without anything having changed: cheap, and it catches what no event told (ms). */
const LOOK_INTERVAL_MS = 5_000
/** What a tick did is published soon; until then, and for this long at most, no other tick is thought about (ms). */
const PUBLICATION_PATIENCE_MS = 2_000

/** What the keeper needs of the network, and what it calls. */
export interface RoundKeeperParts {
  /** What the network publishes, as far as it is known here. */
  readonly jobs: () => Iterable<JobView>
  readonly clock: () => ClockSeen | undefined
  /** Seats of a job whose commitments were gossiped. */
  readonly commitmentsSeen: (job: JobId) => ReadonlySet<Address>
  /** Sends one `Tick` and waits for its evaluation. */
  readonly tick: () => Promise<unknown>
  /** All seats that have work to do, told at every look. */
  readonly dispatch: (seats: readonly (readonly [JobView, SeatView])[]) => void
  readonly onTick: (reason: TickReason, error: unknown) => void
  /** How long it leaves a tick to others before it sends one itself (ms). */
  readonly patienceMs?: number
  readonly time: Clock
  readonly log: Logger
}

/**
 * Drives every job to its end: hands seats with work to `dispatch`, and sends a tick when a job waits for a message
 * that nobody else has a reason to send. It decides nothing; losing all its memory costs a few ticks too many.
 */
export class RoundKeeper {
  readonly #parts: RoundKeeperParts
  readonly #loop: Loop
  #watched = new Map<JobId, Watched>()
  #alarm: NodeJS.Timeout | undefined
  #ticking: Promise<void> | undefined
  #tickedAt = 0
  #failures = 0
  #failedAt = 0

  constructor(parts: RoundKeeperParts) {
    this.#parts = parts
    this.#loop = new Loop(
      {
        intervalMs: LOOK_INTERVAL_MS,
        onError: err => parts.log.error({ err }, 'The rounds of the jobs could not be checked.'),
      },
      async () => this.#look(),
    )
  }

  start(): void {
    this.#loop.start()
  }

  /** Says that something changed. */
  look(): void {
    this.#loop.trigger()
  }

  async stop(): Promise<void> {
    await this.#loop.stop()
    clearTimeout(this.#alarm)
    await this.#ticking
  }

  #look(): void {
    const clock = this.#parts.clock()
    if (clock === undefined) return
    const now = this.#parts.time.now()
    const watched = new Map<JobId, Watched>()
    const wishes: Wish[] = []
    const dispatched: [JobView, SeatView][] = []
    for (const job of this.#parts.jobs()) {
      const move = nextMove(job, clock, this.#parts.commitmentsSeen(job.id), now)
      if (move.kind === 'ended') continue
      const memory = watch(job, this.#watched.get(job.id), now)
      watched.set(job.id, memory)
      wishes.push({ job: job.id, move, watched: memory })
      if (move.kind === 'dispatch') for (const seat of move.seats) dispatched.push([job, seat])
    }
    this.#watched = watched
    this.#parts.dispatch(dispatched)
    if (this.#ticking !== undefined) return
    const published = clock.seenAt > this.#tickedAt ? 0 : this.#tickedAt + PUBLICATION_PATIENCE_MS
    const plan = planTick(
      wishes,
      Math.max(published, this.#failedAt + pauseAfter(this.#failures)),
      this.#parts.patienceMs,
    )
    clearTimeout(this.#alarm)
    if (plan === undefined) return
    if (plan.at <= now) this.#ticking = this.#tick(plan)
    else if (plan.at < now + LOOK_INTERVAL_MS) this.#alarm = setTimeout(() => this.look(), plan.at - now)
  }

  async #tick(plan: TickPlan): Promise<void> {
    const before = this.#watched
    const { tick, onTick, time, log } = this.#parts
    try {
      this.#tickedAt = time.now()
      await tick()
      this.#failures = 0
      this.#remember(plan, before)
      onTick(plan.reason, undefined)
    } catch (err) {
      this.#tickedAt = 0
      this.#failures += 1
      this.#failedAt = time.now()
      log.warn({ err, failures: this.#failures }, 'A tick did not reach the network.')
      onTick(plan.reason, err)
    }
    this.#ticking = undefined
    this.look()
  }

  /** A job that changed while the tick was under way may need another one. */
  #remember(plan: TickPlan, before: ReadonlyMap<JobId, Watched>): void {
    const askedAt = this.#parts.time.now()
    for (const job of plan.jobs) {
      const memory = this.#watched.get(job)
      if (memory === undefined || memory.fingerprint !== before.get(job)?.fingerprint) continue
      this.#watched.set(job, { ...memory, asked: memory.asked + 1, askedAt })
    }
  }
}
