import { type DisputeMessage, equivocationProof } from '@apus/shared/dispute'
import type {
  Address,
  DisputeView,
  JobView,
  ProcessId,
  SeatView,
  SignedCommitment,
} from '@apus/shared/protocol'

/** What a miner has to do about disputes now; it follows from what is published and from nothing else. */
export type Duty =
  | { readonly kind: 'answer'; readonly dispute: DisputeView }
  | { readonly kind: 'move'; readonly dispute: DisputeView }
  | { readonly kind: 'open'; readonly job: JobView; readonly seat: SeatView }
  | { readonly kind: 'show'; readonly message: DisputeMessage }

export interface DisputeFacts {
  readonly network: ProcessId
  readonly me: Address
  readonly jobs: Iterable<JobView>
  readonly disputes: Iterable<DisputeView>
  /** Whether this miner can run the job's model again. */
  readonly canReplay: (job: JobView) => boolean
  /** Whether jobs in which this miner has no seat are run again as well. */
  readonly watches: boolean
  /** Signed commitments of the job that were gossiped. */
  readonly signed: (job: JobView) => readonly SignedCommitment[]
}

/** Disputes are opened from the end of the reveals until the result is final. */
const DISPUTABLE: readonly JobView['state'][] = ['agreed', 'held']

/**
 * The duties of now, those with a clock running first: answers that this miner owes, moves in disputes it opened, seats
 * that signed another result than they revealed, and seats that revealed another result than this miner did, or that it
 * watches, and that it has not disputed yet.
 */
export function duties({ network, me, jobs, disputes, canReplay, watches, signed }: DisputeFacts): Duty[] {
  const all = [...disputes]
  const running = all.filter(dispute => dispute.state === 'running')
  const answers = running.filter(({ turn, accused }) => turn === 'accused' && accused === me)
  const moves = running.filter(({ turn, challenger }) => turn === 'challenger' && challenger === me)
  const found: Duty[] = [
    ...answers.map((dispute): Duty => ({ kind: 'answer', dispute })),
    ...moves.map((dispute): Duty => ({ kind: 'move', dispute })),
  ]
  for (const job of jobs) {
    if (!job.verifiable || !DISPUTABLE.includes(job.state)) continue
    const said = signed(job)
    for (const seat of job.seats) {
      const message =
        seat.miner !== me && isDisputable(seat) ? equivocationProof(network, job, seat, said) : undefined
      if (message !== undefined) found.push({ kind: 'show', message })
    }
    if (!canReplay(job)) continue
    const own = job.seats.find(seat => seat.miner === me && seat.statement !== undefined)
    if (own === undefined && !watches) continue
    for (const seat of job.seats) {
      if (seat.miner === me || !isDisputable(seat) || seat.resultRoot === own?.resultRoot) continue
      const mine = all.some(d => d.job === job.id && d.accused === seat.miner && d.challenger === me)
      if (!mine) found.push({ kind: 'open', job, seat })
    }
  }
  return found
}

const isDisputable = (seat: SeatView): boolean =>
  seat.statement !== undefined && seat.slashed === undefined && ['revealed', 'late'].includes(seat.state)
