import { type Address, ENDED, type JobState, type JobView, type SeatView } from '@apus/shared/protocol'

/** A message that AO took but that never showed in the published state is sent again after this pause. */
export const RESEND_AFTER_MS = 60_000
/** A run that ended this process twice would end it again. */
export const MAX_ATTEMPTS = 3

/** What the journal says of a job. */
export interface Recorded {
  /** Runs begun and not finished. */
  readonly attempts: number
  readonly commitment?: string
  /** Wall time (ms) at which AO took the message. */
  readonly committedAt?: number
  readonly revealedAt?: number
  /** Why this miner will not compute or commit for the job any more. */
  readonly givenUp?: string
}

export interface Facts {
  readonly me: Address
  /** The job's model is loaded here by an engine of the job's class. */
  readonly served: boolean
  /** False while the journal cannot be written: nothing may be promised that a restart would forget. */
  readonly canRecord: boolean
  readonly now: number
}

export type Step =
  /** The job is none of this miner's business, or over: whatever runs for it stops and its record goes. */
  | { readonly do: 'drop' }
  | { readonly do: 'wait' }
  | { readonly do: 'compute' }
  | { readonly do: 'commit' }
  | { readonly do: 'retract' }
  | { readonly do: 'reveal' }
  | { readonly do: 'abstain'; readonly code: string }

const CAN_COMMIT: readonly JobState[] = ['seated', 'auditing']
const CAN_REVEAL: readonly JobState[] = ['revealing', 'agreed', 'held']

const WAIT: Step = { do: 'wait' }
const DROP: Step = { do: 'drop' }

/** The miner's seat in a job: the latest that it was given. */
export const seatOf = (job: JobView, me: Address): SeatView | undefined =>
  job.seats.filter(s => s.miner === me).toSorted((a, b) => b.draw - a.draw)[0]

/**
 * What a miner does next for a job, from the job as AO shows it and the miner's own record. Once a commitment is
 * recorded it is the only one ever sent for the job, whatever happens in between.
 */
export function nextStep(job: JobView, recorded: Recorded | undefined, facts: Facts): Step {
  const seat = seatOf(job, facts.me)
  const over = ENDED.includes(job.state)
  if (seat === undefined) return over || job.state !== 'submitted' ? DROP : WAIT
  switch (seat.state) {
    case 'missed':
      return DROP
    case 'revealed':
      return over ? DROP : WAIT
    case 'drawn':
      if (over) return DROP
      return CAN_COMMIT.includes(job.state) ? towardsCommit(recorded, facts) : WAIT
    case 'committed':
      return over ? DROP : towardsReveal(job, seat, recorded, facts)
    case 'late':
      // A late seat that locked stake owes its reveal long after the job's end; no other does.
      if (seat.resultRoot !== undefined || !job.verifiable || (over && recorded?.givenUp !== undefined))
        return over ? DROP : WAIT
      return towardsReveal(job, seat, recorded, facts)
  }
}

function towardsCommit(recorded: Recorded | undefined, facts: Facts): Step {
  if (recorded?.givenUp !== undefined) return { do: 'abstain', code: recorded.givenUp }
  if (recorded?.commitment === undefined) return towardsResult(recorded, facts)
  const { committedAt } = recorded
  return committedAt === undefined || facts.now - committedAt >= RESEND_AFTER_MS ? { do: 'commit' } : WAIT
}

function towardsReveal(job: JobView, seat: SeatView, recorded: Recorded | undefined, facts: Facts): Step {
  if (recorded?.givenUp !== undefined) return { do: 'abstain', code: recorded.givenUp }
  // The journal was lost: the same run gives the same result, and the derived salt the same commitment.
  if (recorded?.commitment === undefined) return towardsResult(recorded, facts)
  if (seat.commitment !== undefined && seat.commitment !== recorded.commitment)
    return job.state === 'seated' ? { do: 'retract' } : { do: 'abstain', code: 'commitment-differs' }
  if (seat.state === 'committed' && !CAN_REVEAL.includes(job.state)) return WAIT
  const { revealedAt } = recorded
  return revealedAt === undefined || facts.now - revealedAt >= RESEND_AFTER_MS ? { do: 'reveal' } : WAIT
}

function towardsResult(recorded: Recorded | undefined, facts: Facts): Step {
  if (!facts.served) return { do: 'abstain', code: 'model-not-served' }
  if (!facts.canRecord) return { do: 'abstain', code: 'journal-full' }
  if ((recorded?.attempts ?? 0) >= MAX_ATTEMPTS) return { do: 'abstain', code: 'run-keeps-failing' }
  return { do: 'compute' }
}
