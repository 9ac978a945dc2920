import type { JobId, JobView } from '@apus/shared'
import type { Move, TickReason } from './next-move.ts'

/** A job that waits for the next message waits this much for others to share the tick (ms). */
const GATHER_MS = 20
/** A result due to become final waits longer for others: nobody's answer depends on it (ms). */
const FINAL_GATHER_MS = 2_000
/** Pause after a tick that failed or moved nothing that was due, doubled each time up to the longest (ms). */
const FIRST_PAUSE_MS = 500
const LONGEST_PAUSE_MS = 60_000

/** Two views of a job with the same fingerprint want the same thing. */
export const fingerprint = (job: JobView): string =>
  `${job.state} ${job.deadline} ${job.seats.map(s => `${s.miner}${s.draw}${s.state}`).join(' ')}`

/** A live job as the planner sees it. */
export interface Wish {
  readonly job: JobId
  readonly move: Exclude<Move, { kind: 'ended' }>
  /** Wall time (ms) at which the job was first seen as it is now. */
  readonly since: number
  /** Whether a tick was evaluated after the job was seen as it is now. */
  readonly asked: boolean
}

export interface TickPlan {
  /** Wall time (ms) at which to send it. */
  readonly at: number
  readonly reason: TickReason
  /** The jobs that this tick is for. */
  readonly jobs: readonly JobId[]
}

/**
 * The one next tick that serves all jobs, or undefined when there are none. `fruitless` counts the ticks in a row
 * that moved no job they were for, the last of them sent at `lastAt` (wall ms).
 */
export function planTick(wishes: readonly Wish[], fruitless: number, lastAt: number): TickPlan | undefined {
  const dues = wishes.map(dueOf)
  let first = dues[0]
  if (first === undefined) return undefined
  for (const due of dues) if (due.at < first.at) first = due
  const at = Math.max(first.at, lastAt + pause(fruitless))
  return {
    at,
    reason: first.reason,
    jobs: dues.filter(due => due.at <= at).map(due => due.job),
  }
}

function dueOf({ job, move, since, asked }: Wish): {
  job: JobId
  at: number
  reason: TickReason
} {
  if (move.kind === 'dispatch') return { job, at: move.at, reason: 'deadline' }
  const { reason } = move
  if (reason === 'final') return { job, at: move.at + FINAL_GATHER_MS, reason }
  if (reason === 'deadline' || asked) return { job, at: move.again, reason }
  return { job, at: since + GATHER_MS, reason }
}

const pause = (fruitless: number): number =>
  fruitless === 0 ? 0 : Math.min(FIRST_PAUSE_MS * 2 ** (fruitless - 1), LONGEST_PAUSE_MS)
