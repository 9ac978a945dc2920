import { backoff } from '@apus/shared/kit'
import type { Address, JobId, JobView, SeatView } from '@apus/shared/protocol'
import type { HandedOut, HandOut } from './job-board.ts'
import type { Task } from './task.ts'

/** A miner that took a task is asked again after this long, which costs it one small message (ms). */
export const LEASE_MS = 15_000
/** A miner with its hands full soon has one free (ms). */
const BUSY_PAUSE_MS = 2_000
/** Pause before a miner that did not answer is asked again, doubled each time up to a lease (ms). */
const FIRST_PAUSE_MS = 1_000

/** What a miner says to a task; `unreachable` when it says nothing. */
export type Answer = 'accepted' | 'known' | 'busy' | 'refused' | 'unreachable'

/** What handing out needs to know and do. */
export interface HandOutParts {
  readonly job: (id: JobId) => JobView | undefined
  readonly commitmentsSeen: (id: JobId) => ReadonlySet<Address>
  /** Brings the job to the miner. */
  readonly send: (miner: Address, job: JobView) => Promise<Answer>
}

/** Hands a task to its miner, and again whenever a lease ends while the seat still has work to do. */
export const handOutTo =
  ({ job, commitmentsSeen, send }: HandOutParts): HandOut =>
  async (task, attempt) => {
    const view = job(task.job)
    // The board is shared: another coordinator may know of a job before we do.
    if (view === undefined) return { kind: 'later', afterMs: pauseAfter(attempt) }
    const seat = seatOf(task, view)
    if (seat?.state !== 'drawn' || commitmentsSeen(view.id).has(task.miner)) return { kind: 'done' }
    return leaseAfter(await send(task.miner, view), attempt)
  }

const seatOf = (task: Task, view: JobView): SeatView | undefined =>
  view.seats.find(seat => seat.miner === task.miner && seat.draw === task.draw)

function leaseAfter(answer: Answer, attempt: number): HandedOut {
  switch (answer) {
    case 'accepted':
    case 'known':
    case 'refused':
      return { kind: 'later', afterMs: LEASE_MS }
    case 'busy':
      return { kind: 'later', afterMs: BUSY_PAUSE_MS }
    case 'unreachable':
      return { kind: 'later', afterMs: pauseAfter(attempt) }
  }
}

const pauseAfter = (attempt: number): number => backoff(attempt, FIRST_PAUSE_MS, LEASE_MS)
