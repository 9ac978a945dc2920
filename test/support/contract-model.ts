import { digest } from '@apus/shared/hashing'
import { type Address, ENDED, type JobId, type JobView, type SeatView } from '@apus/shared/protocol'
import { MAX_CLOCK_STEP_MS } from '../../shared/src/rounds/clock-seen.ts'
import { MOVES_PER_TICK } from '../../shared/src/rounds/tick-plan.ts'

export const WINDOWS = {
  draw: 600_000,
  drawRetry: 30_000,
  commit: 600_000,
  reveal: 600_000,
  dispute: 900_000,
} as const
const MAX_REDRAWS = 2
/** Number of the first audit draw; 0 to 2 are the draws of ordinary seats. */
const AUDIT_DRAW = 3

type Mutable<T> = { -readonly [K in keyof T]: T[K] }
interface ModelJob extends Mutable<Omit<JobView, 'seats'>> {
  seats: Mutable<SeatView>[]
  /** What the next message's hash chain draws. */
  awaiting: 'seats' | 'audit' | 'audit-seat' | undefined
  redraws: number
  auditDraws: number
  auditCommitted: boolean
  drawUntil: number
}

/** What chance and miners decide. */
export interface Fate {
  /** Miners that can be drawn for this job at its nth draw. */
  readonly candidates: (draw: number) => number
  readonly audit: boolean
}

export const minerOf = (n: number): Address => digest('test/miner', String(n)) as Address

/**
 * The life of jobs by contracts-lua/SPEC.md, without money and disputes: time, draws, rounds and deadlines.
 * test/contracts/contract-model.test.ts holds it to the contract.
 */
export class ContractModel {
  readonly jobs = new Map<JobId, ModelJob>()
  readonly #fates = new Map<JobId, Fate>()
  network: number
  timestamp: number
  messages = 0
  #miners = 0

  constructor(startMs: number) {
    this.network = startMs
    this.timestamp = startMs
  }

  /** One message at the scheduler's time `at`: time, draws, overdue moves, then what the message itself does. */
  message(at: number, act: () => void = () => {}): void {
    this.messages += 1
    const step = Math.max(0, at - this.timestamp)
    this.network += Math.min(step, MAX_CLOCK_STEP_MS)
    this.timestamp = at
    for (const job of this.jobs.values()) if (job.awaiting) this.#draw(job)
    const overdue = [...this.jobs.values()]
      .filter(job => !ENDED.includes(job.state) && job.deadline <= this.network)
      .sort((a, b) => a.deadline - b.deadline)
    for (const job of overdue.slice(0, MOVES_PER_TICK)) this.#overdue(job)
    act()
  }

  submit(at: number, name: string, redundancy: number, fate: Fate): JobId {
    const id = digest('test/job', name) as JobId
    this.#fates.set(id, fate)
    this.message(at, () => {
      this.jobs.set(id, {
        ...blankJob(id, redundancy, this.network),
        state: 'submitted',
        deadline: this.network + WINDOWS.draw,
        drawUntil: this.network + WINDOWS.draw,
        awaiting: 'seats',
        redraws: 0,
        auditDraws: 0,
        auditCommitted: false,
        seats: [],
      })
    })
    return id
  }

  commit(at: number, id: JobId, miner: Address): void {
    this.message(at, () => {
      const job = this.jobs.get(id)
      const seat = job?.seats.find(s => s.miner === miner && s.state === 'drawn')
      if (!job || !seat) return
      seat.state = 'committed'
      if (seat.audit) job.auditCommitted = true
      this.#afterCommit(job)
    })
  }

  reveal(at: number, id: JobId, miner: Address): void {
    this.message(at, () => {
      const job = this.jobs.get(id)
      const seat = job?.seats.find(s => s.miner === miner && s.state === 'committed')
      if (!job || !seat || job.state !== 'revealing') return
      seat.state = 'revealed'
      if (count(job, 'committed') === 0) this.#decide(job)
    })
  }

  view(id: JobId): JobView {
    const { awaiting, redraws, auditDraws, auditCommitted, drawUntil, ...job } = this.jobs.get(id)!
    return structuredClone(job)
  }

  #draw(job: ModelJob): void {
    const { awaiting } = job
    job.awaiting = undefined
    if (awaiting === 'seats') this.#drawSeats(job)
    else if (awaiting === 'audit-seat' || this.#fates.get(job.id)!.audit) this.#drawAuditSeat(job)
    else this.#startRevealing(job)
  }

  #drawSeats(job: ModelJob): void {
    const missing = job.redundancy - count(job, 'committed')
    const candidates = this.#fates.get(job.id)!.candidates(job.redraws)
    if (job.redraws === 0 && candidates < missing) {
      this.#expire(job, 'submitted', Math.min(WINDOWS.drawRetry, job.drawUntil - this.network))
      return
    }
    const drawn = Math.min(missing, candidates)
    this.#seat(job, drawn, job.redraws, false)
    job.redraws = drawn > 0 ? job.redraws + 1 : MAX_REDRAWS + 1
    this.#expire(job, 'seated', WINDOWS.commit)
    this.#afterCommit(job)
  }

  #drawAuditSeat(job: ModelJob): void {
    if (this.#fates.get(job.id)!.candidates(AUDIT_DRAW + job.auditDraws) === 0) {
      this.#startRevealing(job)
      return
    }
    this.#seat(job, 1, job.auditDraws, true)
    job.auditDraws += 1
    this.#expire(job, 'auditing', WINDOWS.commit)
  }

  #seat(job: ModelJob, seats: number, draw: number, audit: boolean): void {
    for (let i = 0; i < seats; i++)
      job.seats.push({ miner: minerOf(this.#miners++), state: 'drawn', draw, audit })
  }

  /** Moves on when no drawn seat is left to wait for: to another draw of the missing ones, or to the next round. */
  #afterCommit(job: ModelJob): void {
    if (count(job, 'drawn') > 0 || job.awaiting) return
    if (job.state === 'auditing') {
      if (job.auditCommitted || job.auditDraws > MAX_REDRAWS) this.#startRevealing(job)
      else this.#await(job, 'audit-seat', 'auditing')
      return
    }
    const committed = count(job, 'committed')
    if (committed < job.redundancy && job.redraws <= MAX_REDRAWS) this.#await(job, 'seats', 'seated')
    else if (committed === 0) this.#end(job, 'expired')
    else this.#await(job, 'audit', 'auditing')
  }

  #await(job: ModelJob, draw: ModelJob['awaiting'], state: JobView['state']): void {
    job.awaiting = draw
    this.#expire(job, state, WINDOWS.draw)
  }

  #startRevealing(job: ModelJob): void {
    job.awaiting = undefined
    this.#expire(job, 'revealing', WINDOWS.reveal)
  }

  #overdue(job: ModelJob): void {
    switch (job.state) {
      case 'submitted':
        if (job.drawUntil <= this.network) {
          this.#end(job, 'expired')
          return
        }
        job.awaiting = 'seats'
        this.#expire(job, 'submitted', job.drawUntil - this.network)
        return
      case 'auditing':
        if (job.awaiting) this.#startRevealing(job)
        else this.#missed(job)
        return
      case 'seated':
        if (job.awaiting) job.redraws = MAX_REDRAWS + 1
        job.awaiting = undefined
        this.#missed(job)
        return
      case 'revealing':
        for (const seat of job.seats) if (seat.state === 'committed') seat.state = 'late'
        this.#decide(job)
        return
      default:
        this.#end(job, 'settled')
        return
    }
  }

  #missed(job: ModelJob): void {
    for (const seat of job.seats) if (seat.state === 'drawn') seat.state = 'missed'
    this.#afterCommit(job)
  }

  #decide(job: ModelJob): void {
    if (count(job, 'revealed') === 0) {
      this.#end(job, 'expired')
      return
    }
    job.finalAt = this.network + WINDOWS.dispute
    this.#expire(job, 'agreed', WINDOWS.dispute)
  }

  #expire(job: ModelJob, state: JobView['state'], span: number): void {
    job.state = state
    job.deadline = this.network + span
  }

  #end(job: ModelJob, state: JobView['state']): void {
    job.state = state
  }
}

const count = (job: ModelJob, state: SeatView['state']): number =>
  job.seats.filter(seat => seat.state === state).length

/** A job as published, for tests that fill in what matters to them. */
export function blankJob(id: JobId, redundancy: number, now: number): JobView {
  return {
    id,
    requester: minerOf(1_000_000),
    model: digest('test/model') as JobView['model'],
    class: 'test',
    verifiable: true,
    state: 'submitted',
    redundancy,
    maxTokens: 16,
    sampler: {} as JobView['sampler'],
    stop: [],
    format: 'text',
    promptHash: digest('test/prompt') as JobView['promptHash'],
    submitted: now,
    deadline: now,
    escrow: '0',
    seatPrice: '0',
    seats: [],
  }
}
