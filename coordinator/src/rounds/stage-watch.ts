import type { JobId, JobState, JobView } from '@apus/shared/protocol'

/** What a job waits for, in order; `done` is any end. */
const STAGES = ['draw', 'commitments', 'audit', 'reveals', 'window', 'done'] as const
export type Stage = Exclude<(typeof STAGES)[number], 'done'>

const STAGE_OF: Readonly<Record<JobState, (typeof STAGES)[number]>> = {
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

/** Measures how long jobs stay in each stage, as seen from here. */
export class StageWatch {
  readonly #since = new Map<JobId, { readonly stage: (typeof STAGES)[number]; readonly at: number }>()
  readonly #onLeft: (stage: Stage, ms: number) => void

  /** `onLeft` is told of each stage that a job has left, and how long it was in it. */
  constructor(onLeft: (stage: Stage, ms: number) => void) {
    this.#onLeft = onLeft
  }

  see(job: JobView, now: number): void {
    const stage = STAGE_OF[job.state]
    const before = this.#since.get(job.id)
    if (before?.stage === stage) return
    if (before !== undefined && before.stage !== 'done') this.#onLeft(before.stage, now - before.at)
    if (stage === 'done') this.#since.delete(job.id)
    else this.#since.set(job.id, { stage, at: now })
  }
}
