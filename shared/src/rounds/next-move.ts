import type { Address } from '../protocol/identity.ts'
import { ENDED, type JobView, type SeatView } from '../protocol/job.ts'
import { type ClockSeen, wallTimeOf } from './clock-seen.ts'

/** Why a tick is wanted: seats or the audit wait for the next message, a deadline passes, a result becomes final. */
export type TickReason = 'draw' | 'audit' | 'deadline' | 'final'

/**
 * What a job wants of the coordinator; times are wall time in ms.
 * `tick`: a message moves it from `at` on. Where that is the next message of any kind, `again` is when to ask once more
 * if it did not.
 * `dispatch`: these seats have work to do; should they stay silent, a tick is due at `at`.
 */
export type Move =
  | { readonly kind: 'ended' }
  | {
      readonly kind: 'tick'
      readonly reason: TickReason
      readonly at: number
      readonly again?: number
    }
  | {
      readonly kind: 'dispatch'
      readonly seats: readonly SeatView[]
      readonly at: number
    }

/**
 * Decides the next move for one job. It leans on one rule of the contract: a job moves when one of its seats speaks;
 * when none has anything to say, with the next message; and in any case with the first message after its deadline.
 */
export function nextMove(
  job: JobView,
  clock: ClockSeen,
  commitmentsSeen: ReadonlySet<Address>,
  now: number,
): Move {
  if (ENDED.includes(job.state)) return { kind: 'ended' }
  const at = wallTimeOf(job.deadline, clock)
  const nextMessage = (reason: TickReason): Move => ({ kind: 'tick', reason, at: now, again: at })
  const deadline = (reason: TickReason): Move => ({ kind: 'tick', reason, at })
  switch (job.state) {
    case 'submitted':
      return nextMessage('draw')
    case 'seated':
    case 'auditing': {
      const drawn = job.seats.filter(seat => seat.state === 'drawn')
      if (drawn.length === 0) return nextMessage(job.state === 'seated' ? 'draw' : 'audit')
      const seats = drawn.filter(seat => !commitmentsSeen.has(seat.miner))
      return seats.length > 0 ? { kind: 'dispatch', seats, at } : deadline('deadline')
    }
    case 'revealing':
      return deadline('deadline')
    default:
      return deadline('final')
  }
}
