import { sleep } from '@apus/shared/kit'
import type { Address, JobId, JobView } from '@apus/shared/protocol'
import { seatOf } from './next-step.ts'
import type { ServedModels } from './ports.ts'
import type { Work } from './work.ts'

/** Runs waiting for a model beyond which a hint is answered `busy`: the seat stays, the coordinator knows. */
const BUSY_ABOVE = 16
/** A hint may come a little before AO shows the seat here. */
const TRIES = 5
const PAUSE_MS = 1_000
/** Hints looked into at the same time; each costs a read of AO. */
const MAX_OPEN = 32

export interface HintAnswer {
  readonly status: 'accepted' | 'known' | 'busy' | 'refused'
  readonly code?: string
}

/**
 * Seats that somebody says this miner has. A hint is never believed: the job that is worked on is the one AO shows, and
 * only the prompt, which its hash proves, is taken from the hint.
 */
export class Hints {
  readonly #work: Pick<Work, 'has' | 'refresh' | 'waiting'>
  readonly #me: Address
  readonly #models: ServedModels
  readonly #open = new Set<JobId>()

  constructor(work: Pick<Work, 'has' | 'refresh' | 'waiting'>, me: Address, models: ServedModels) {
    this.#work = work
    this.#me = me
    this.#models = models
  }

  take(job: JobView, prompt: string | undefined): HintAnswer {
    if (seatOf(job, this.#me) === undefined) return { status: 'refused', code: 'no-seat' }
    if (this.#models.get(job.model)?.class !== job.class)
      return { status: 'refused', code: 'model-not-served' }
    if (this.#work.has(job.id) || this.#open.has(job.id)) return { status: 'known' }
    if (this.#work.waiting >= BUSY_ABOVE || this.#open.size >= MAX_OPEN) return { status: 'busy' }
    this.#open.add(job.id)
    void this.#look(job.id, prompt).finally(() => this.#open.delete(job.id))
    return { status: 'accepted' }
  }

  async #look(id: JobId, prompt: string | undefined): Promise<void> {
    for (let i = 0; i < TRIES && !this.#work.has(id); i++) {
      if (i > 0) await sleep(PAUSE_MS)
      await this.#work.refresh(id, prompt).catch(() => {})
    }
  }
}
