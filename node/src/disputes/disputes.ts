import {
  accusedAnswer,
  challengerMove,
  type DisputeMessage,
  isOverdue,
  openingMove,
  SeatAnswers,
} from '@apus/shared/dispute'
import { fromBase64 } from '@apus/shared/hashing'
import { ApusError, backoff, type Clock, describeError, errorCode, type Logger, Loop } from '@apus/shared/kit'
import type { RunLeaves } from '@apus/shared/machine'
import type { NetworkMirror } from '@apus/shared/network'
import {
  type Address,
  type DisputeView,
  decodeTokens,
  type JobView,
  type ProcessId,
  type RevealedResult,
  type SeatView,
  type SignedCommitment,
  tokensKey,
} from '@apus/shared/protocol'
import type { Replay } from '@apus/shared/replay'
import { type Duty, duties } from './next-duty.ts'
import type { Replays } from './replays.ts'

const LOOK_INTERVAL_MS = 2_000
/** A message that was taken but never showed in the published state is sent again after this pause. */
const RESEND_AFTER_MS = 30_000
const FIRST_RETRY_MS = 1_000
const LONGEST_RETRY_MS = 60_000

/** Codes after which the same message will never be taken: the matter is over, or was never provable. */
const FINAL = new Set([
  'nothing-to-prove',
  'already-convicted',
  'window-over',
  'unknown-dispute',
  'unknown-job',
  'job-ended',
  'not-revealed',
  'not-verifiable',
  'wrong-key',
])

export interface DisputesParts {
  readonly network: ProcessId
  readonly me: Address
  readonly mirror: NetworkMirror
  readonly send: (message: DisputeMessage) => Promise<unknown>
  readonly tick: () => Promise<unknown>
  readonly replays: Replays
  /** Whether jobs without a seat of this miner are looked at as well. */
  readonly watches: boolean
  /** Signed commitments of a job that were gossiped. */
  readonly signed: (job: JobView) => readonly SignedCommitment[]
  /** The leaves under a seat's roots from wherever they can be had; undefined when nobody gives them. */
  readonly leavesOf: (job: JobView, seat: SeatView, signal: AbortSignal) => Promise<RunLeaves | undefined>
  readonly clock: Clock
  readonly log: Logger
}

interface Attempt {
  readonly notBefore: number
  readonly failures: number
}

/**
 * Answers for this miner's seats and disputes those of others. Every move follows from what is published and a re-run,
 * so a restart at any point forgets nothing.
 */
export class Disputes {
  readonly #parts: DisputesParts
  readonly #attempts = new Map<string, Attempt>()
  /** Answers have clocks that a long accusation must not use up, so they do not wait for it. */
  readonly #loops: readonly Loop[]
  #tickedAt = Number.NEGATIVE_INFINITY

  constructor(parts: DisputesParts) {
    this.#parts = parts
    const options = {
      intervalMs: LOOK_INTERVAL_MS,
      onError: (err: unknown) => parts.log.error({ err }, 'The disputes of this miner could not be checked.'),
    }
    this.#loops = [true, false].map(answers => new Loop(options, signal => this.#look(answers, signal)))
  }

  start(): void {
    for (const loop of this.#loops) loop.start()
  }

  /** Says that something changed. */
  look(): void {
    for (const loop of this.#loops) loop.trigger()
  }

  async stop(): Promise<void> {
    await Promise.all(this.#loops.map(loop => loop.stop()))
  }

  async #look(answers: boolean, signal: AbortSignal): Promise<void> {
    const { network, me, mirror, replays, watches, signed, clock } = this.#parts
    const jobs = mirror.jobs.values()
    const disputes = mirror.disputes.values()
    const due = duties({ network, me, jobs, disputes, watches, signed, canReplay: job => replays.can(job) })
    const live = new Set(due.map(keyOf))
    for (const key of this.#attempts.keys()) if (!live.has(key)) this.#attempts.delete(key)
    for (const duty of due.filter(({ kind }) => (kind === 'answer') === answers)) {
      if (signal.aborted) return
      const attempt = this.#attempts.get(keyOf(duty))
      if (attempt === undefined || clock.now() >= attempt.notBefore) await this.#do(duty, signal)
    }
    await this.#endOverdue()
  }

  /** Whoever waits for an opponent whose time is over has a reason to say so. */
  async #endOverdue(): Promise<void> {
    const { me, mirror, clock, tick } = this.#parts
    const own = [...mirror.disputes.values()].filter(d => d.challenger === me || d.accused === me)
    const overdue = own.some(d => isOverdue(d, at => mirror.wallTimeOf(at), clock.now()))
    if (!overdue || clock.now() - this.#tickedAt < RESEND_AFTER_MS) return
    this.#tickedAt = clock.now()
    await tick()
  }

  async #do(duty: Duty, signal: AbortSignal): Promise<void> {
    const { clock, log, send } = this.#parts
    const key = keyOf(duty)
    try {
      const message = await this.#messageOf(duty, signal)
      if (message !== undefined) {
        await send(message)
        log.info({ ...message.tags, action: message.action }, 'A message of a dispute was sent.')
      }
      const notBefore = message === undefined ? Number.POSITIVE_INFINITY : clock.now() + RESEND_AFTER_MS
      this.#attempts.set(key, { notBefore, failures: 0 })
    } catch (error) {
      if (signal.aborted) return
      const failures = (this.#attempts.get(key)?.failures ?? 0) + 1
      const pause = backoff(failures, FIRST_RETRY_MS, LONGEST_RETRY_MS)
      const notBefore = FINAL.has(errorCode(error) ?? '') ? Number.POSITIVE_INFINITY : clock.now() + pause
      this.#attempts.set(key, { notBefore, failures })
      log.warn({ duty: key, reason: describeError(error) }, 'A move in a dispute could not be made.')
    }
  }

  async #messageOf(duty: Duty, signal: AbortSignal): Promise<DisputeMessage | undefined> {
    if (duty.kind === 'show') return duty.message
    if (duty.kind === 'open') return this.#opening(duty.job, duty.seat, signal)
    const { dispute } = duty
    const job = this.#parts.mirror.jobs.get(dispute.job)
    const seat = job?.seats.find(s => s.miner === dispute.accused && s.statement !== undefined)
    if (job === undefined || seat?.statement === undefined) return undefined
    if (duty.kind === 'answer') return accusedAnswer(dispute, await this.#runFor(job, dispute, signal))
    const run = await this.#runFor(job, dispute, signal, this.#tokensOf(job, seat.statement))
    const answers = new SeatAnswers(job.id, dispute.accused, at => this.#parts.mirror.seatAnswers.get(at))
    return challengerMove(dispute, run, { result: seat.statement, answers })
  }

  async #opening(job: JobView, seat: SeatView, signal: AbortSignal): Promise<DisputeMessage | undefined> {
    if (seat.statement === undefined) return undefined
    const run = await this.#parts.replays.of(job, signal, this.#tokensOf(job, seat.statement))
    const leaves = await this.#parts.leavesOf(job, seat, signal).catch(() => undefined)
    const move = openingMove(run, { job: job.id, accused: seat.miner, result: seat.statement, leaves })
    // Before a bond is at stake the oracle sees whether this node's own engine was right there.
    if (move?.tags.Position !== undefined) await run.prepare?.(Number(move.tags.Position), signal)
    return move
  }

  async #runFor(
    job: JobView,
    { position, pages }: DisputeView,
    signal: AbortSignal,
    tokens?: readonly number[],
  ): Promise<Replay> {
    const run = await this.#parts.replays.of(job, signal, tokens)
    if (position !== undefined) await run.prepare?.(position, signal)
    if (pages !== undefined) await run.preparePages?.(pages, signal)
    return run
  }

  #tokensOf(job: JobView, result: RevealedResult): number[] {
    const text = this.#parts.mirror.tokens.get(tokensKey(job.id, result))
    if (text === undefined)
      throw new ApusError('tokens-missing', 'The tokens of the accused are not published yet.', {
        retry: true,
        blame: 'nobody',
      })
    return decodeTokens(fromBase64(text))
  }
}

/** One duty for as long as the dispute looks the same. */
function keyOf(duty: Duty): string {
  if (duty.kind === 'open') return `open ${duty.job.id} ${duty.seat.miner}`
  if (duty.kind === 'show') return `show ${duty.message.tags.Job} ${duty.message.tags.Accused}`
  const { id, moves, position, stage, operation, level, node, pages } = duty.dispute
  return [duty.kind, id, moves?.join('|'), position, stage, operation, level, node, pages].join(' ')
}
