import { backoff } from '../kit/backoff.ts'
import type { JobId } from '../protocol/identity.ts'
import type { JobState, JobView } from '../protocol/job.ts'
import type { Move, TickReason } from './next-move.ts'

/** Overdue jobs that one message moves: the rule of the network contract. Draws are not counted. */
export const MOVES_PER_TICK = 16
/** A job that waits for the next message waits this long for other jobs to share the tick (ms). */
const GATHER_MS = 20
/** A result about to become final waits longer for others: nobody's answer depends on it (ms). */
const FINAL_GATHER_MS = 2_000
/** Pause after a tick that failed, or that left a job as it was; doubled each time up to the longest (ms). */
const FIRST_PAUSE_MS = 500
const LONGEST_PAUSE_MS = 60_000

/** What the keeper remembers of a live job, for as long as the job looks the same. */
export interface Watched {
  /** Two views of a job with the same fingerprint want the same thing. */
  readonly fingerprint: string
  readonly state: JobState
  /** Network time (ms). */
  readonly deadline: number
  /** Wall time (ms) at which the job was first seen like this. */
  readonly since: number
  /** Ticks evaluated on its behalf since then, the last at wall time `askedAt` (ms). */
  readonly asked: number
  readonly askedAt: number
}

export interface Wish {
  readonly job: JobId
  readonly move: Exclude<Move, { kind: 'ended' }>
  readonly watched: Watched
}

export interface TickPlan {
  /** Wall time (ms) at which to send it. */
  readonly at: number
  readonly reason: TickReason
  /** The jobs that it should move. */
  readonly jobs: readonly JobId[]
}

/** What is remembered of a job that now looks like `job`. */
export function watch(job: JobView, before: Watched | undefined, now: number): Watched {
  const { state, deadline } = job
  const fingerprint = `${state} ${deadline} ${job.seats.map(s => `${s.miner} ${s.draw} ${s.state}`).join(' ')}`
  if (before?.fingerprint === fingerprint) return before
  // A draw that found too few miners gives a nearer deadline, at which it is tried again: another message changes nothing.
  const tried = state === 'submitted' && before?.state === 'submitted' && deadline < before.deadline
  return { fingerprint, state, deadline, since: now, asked: tried ? 1 : 0, askedAt: now }
}

export const pauseAfter = (times: number): number =>
  times === 0 ? 0 : backoff(times, FIRST_PAUSE_MS, LONGEST_PAUSE_MS)

/**
 * The one next tick that serves all jobs, not before `earliest` (wall ms), or undefined when there are none; `patienceMs`
 * leaves it to others first.
 */
export function planTick(wishes: readonly Wish[], earliest: number, patienceMs = 0): TickPlan | undefined {
  const dues = wishes
    .map(dueOf)
    .map(due => ({ ...due, at: due.at + patienceMs }))
    .sort((a, b) => a.at - b.at)
  const first = dues[0]
  if (first === undefined) return undefined
  const at = Math.max(first.at, earliest)
  const ripe = dues.filter(due => due.at <= at)
  const overdue = ripe.filter(due => !due.draws).slice(0, MOVES_PER_TICK)
  return {
    at,
    reason: first.reason,
    jobs: [...ripe.filter(due => due.draws), ...overdue].map(due => due.job),
  }
}

interface Due {
  readonly job: JobId
  readonly at: number
  readonly reason: TickReason
  readonly draws: boolean
}

function dueOf({ job, move, watched }: Wish): Due {
  const { since, asked, askedAt } = watched
  const reason = move.kind === 'tick' ? move.reason : 'deadline'
  const again = move.kind === 'tick' ? move.again : undefined
  const gathered = reason === 'final' ? move.at + FINAL_GATHER_MS : move.at
  if (asked === 0 && again !== undefined) return { job, at: since + GATHER_MS, reason, draws: true }
  return {
    job,
    at: asked === 0 ? gathered : Math.max(again ?? gathered, askedAt + pauseAfter(asked)),
    reason,
    draws: false,
  }
}
