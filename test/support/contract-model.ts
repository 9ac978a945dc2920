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

type Mutable<T> = { -readonly [K in keyof T]: T[K] }
interface ModelJob extends Mutable<Omit<JobView, 'seats'>> {
  seats: Mutable<SeatView>[]
  /** Waits for the hash chain of the next message. */
  awaiting: boolean
  draws: number
  drawUntil: number
  audited: boolean
}

/** What chance and miners decide. */
export interface Fate {
  /** Miners that can be drawn for this job at its nth draw. */
  readonly candidates: (draw: number) => number
  readonly audit: boolean
}

export const minerOf = (n: number): Address => digest('test/miner', String(n)) as Address

/** The life of jobs by contracts-lua/SPEC.md, without money: time, draws, rounds and deadlines. */
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
    this.timestamp = Math.max(at, this.timestamp)
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
        awaiting: true,
        draws: 0,
        audited: false,
        seats: [],
      })
    })
    return id
  }

  commit(at: number, id: JobId, miner: Address): void {
    this.message(at, () => {
      const job = this.jobs.get(id)
      const seat = job?.seats.find(s => s.miner === miner && s.state === 'drawn')
      if (!job || !seat || (job.state !== 'seated' && job.state !== 'auditing')) return
      seat.state = 'committed'
      if (!has(job, 'drawn')) this.#committed(job)
    })
  }

  reveal(at: number, id: JobId, miner: Address): void {
    this.message(at, () => {
      const job = this.jobs.get(id)
      const seat = job?.seats.find(s => s.miner === miner && s.state === 'committed')
      if (!job || !seat || job.state !== 'revealing') return
      seat.state = 'revealed'
      if (!has(job, 'committed')) this.#decide(job)
    })
  }

  view(id: JobId): JobView {
    const { awaiting, draws, drawUntil, audited, ...job } = this.jobs.get(id)!
    return structuredClone(job)
  }

  #draw(job: ModelJob): void {
    job.awaiting = false
    const candidates = this.#fates.get(job.id)!.candidates(job.draws)
    if (job.state === 'auditing') {
      if (this.#fates.get(job.id)!.audit && !job.audited && candidates > 0) this.#seat(job, 1, true)
      else this.#expire(job, 'revealing', WINDOWS.reveal)
      job.audited = true
      return
    }
    const missing = job.redundancy - job.seats.filter(s => s.state === 'committed').length
    if (job.draws === 0 && candidates < missing) {
      this.#expire(job, 'submitted', Math.min(WINDOWS.drawRetry, job.drawUntil - this.network))
      return
    }
    this.#seat(job, Math.min(missing, candidates), false)
    if (candidates === 0) this.#committed(job)
  }

  #seat(job: ModelJob, count: number, audit: boolean): void {
    for (let i = 0; i < count; i++) {
      job.seats.push({ miner: minerOf(this.#miners++), state: 'drawn', draw: job.draws, audit })
    }
    job.draws += 1
    this.#expire(job, audit ? 'auditing' : 'seated', WINDOWS.commit)
  }

  #committed(job: ModelJob): void {
    if (!has(job, 'committed')) {
      this.#end(job, 'expired')
      return
    }
    if (job.state === 'auditing') {
      this.#expire(job, 'revealing', WINDOWS.reveal)
      return
    }
    job.awaiting = true
    this.#expire(job, 'auditing', WINDOWS.draw)
  }

  #overdue(job: ModelJob): void {
    switch (job.state) {
      case 'submitted':
        if (job.drawUntil <= this.network) {
          this.#end(job, 'expired')
          return
        }
        job.awaiting = true
        this.#expire(job, 'submitted', job.drawUntil - this.network)
        return
      case 'seated':
      case 'auditing': {
        for (const seat of job.seats) if (seat.state === 'drawn') seat.state = 'missed'
        if (job.state === 'seated' && job.draws <= MAX_REDRAWS) {
          job.awaiting = true
          this.#expire(job, 'seated', WINDOWS.draw)
          return
        }
        this.#committed(job)
        return
      }
      case 'revealing':
        for (const seat of job.seats) if (seat.state === 'committed') seat.state = 'late'
        this.#decide(job)
        return
      default:
        this.#end(job, 'settled')
        return
    }
  }

  #decide(job: ModelJob): void {
    if (!has(job, 'revealed')) {
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

const has = (job: ModelJob, state: SeatView['state']): boolean => job.seats.some(s => s.state === state)

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
