import type { JobId, JobState, JobView } from '@apus/shared/protocol'

/** What a job waits for, in order; `done` is any end. */
const PHASES = ['draw', 'commitments', 'audit', 'reveals', 'window', 'done'] as const
export type Phase = Exclude<(typeof PHASES)[number], 'done'>

const PHASE_OF: Readonly<Record<JobState, (typeof PHASES)[number]>> = {
  submitted: 'draw',
  seated: 'commitments',
  auditing: 'audit',
  revealing: 'reveals',
  agreed: 'window',
  held: 'window',
  settled: 'done',
  refunded: 'done',
  expired: 'done',
  cancelled: 'done',
  void: 'done',
}

/** Measures how long jobs stay in each phase, as seen from here. */
export class PhaseWatch {
  readonly #since = new Map<JobId, { readonly phase: (typeof PHASES)[number]; readonly at: number }>()
  readonly #onLeft: (phase: Phase, ms: number) => void

  /** `onLeft` is told of each phase that a job has left, and how long it was in it. */
  constructor(onLeft: (phase: Phase, ms: number) => void) {
    this.#onLeft = onLeft
  }

  see(job: JobView, now: number): void {
    const phase = PHASE_OF[job.state]
    const before = this.#since.get(job.id)
    if (before?.phase === phase) return
    if (before !== undefined && before.phase !== 'done') this.#onLeft(before.phase, now - before.at)
    if (phase === 'done') this.#since.delete(job.id)
    else this.#since.set(job.id, { phase: phase, at: now })
  }
}
