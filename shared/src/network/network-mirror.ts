import { z } from 'zod'
import type { AoEmittedMessage } from '../ao/ao-client.ts'
import { type DisputeView, disputeView } from '../protocol/dispute.ts'
import { type JobId, jobId } from '../protocol/identity.ts'
import { ENDED, type JobView, jobView } from '../protocol/job.ts'
import {
  type ClockView,
  clockView,
  type MinerView,
  type ModelView,
  minerView,
  modelView,
  type TotalsView,
  totalsView,
} from '../protocol/views.ts'

/** Ended jobs are remembered only so that late readers find them; the process itself keeps publishing them. */
const ENDED_JOBS_KEPT = 2_000

/** The published keys that are mirrored; models and miners stand before the jobs that name them. */
export const MIRRORED = [
  'clock',
  'totals',
  'models',
  'miners',
  'prompts',
  'tokens',
  'jobs',
  'evidence',
  'disputes',
] as const

export type Change =
  | { readonly kind: 'job'; readonly job: JobView; readonly before: JobView | undefined }
  | { readonly kind: 'miner'; readonly miner: MinerView }
  | { readonly kind: 'model'; readonly model: ModelView }
  | { readonly kind: 'dispute'; readonly dispute: DisputeView }
  | { readonly kind: 'clock'; readonly clock: ClockView }

const published = z.record(z.string(), z.string())

/** What the network process has published, kept up to date from the patches that its evaluations emit. */
export class NetworkMirror {
  readonly jobs = new Map<JobId, JobView>()
  readonly prompts = new Map<JobId, string>()
  /** Tokens that seats revealed, base64, by job and digest (`tokensKey`), for as long as a result of the job is at stake. */
  readonly tokens = new Map<string, string>()
  readonly disputes = new Map<string, DisputeView>()
  /** What accused seats answered, by `seatAnswerKey`, for as long as their seats are at stake. */
  readonly seatAnswers = new Map<string, string>()
  readonly miners = new Map<string, MinerView>()
  readonly models = new Map<string, ModelView>()
  clock: ClockView | undefined
  totals: TotalsView | undefined
  readonly #ended: JobId[] = []

  /** Takes the messages of one evaluation, in slot order, and returns what it changed. Unknown keys are left alone. */
  apply(messages: readonly AoEmittedMessage[]): Change[] {
    const changes: Change[] = []
    for (const message of messages) {
      if (!message.Tags.some(tag => tag.name === 'device' && tag.value === 'patch@1.0')) continue
      for (const tag of message.Tags) changes.push(...this.#merge(tag.name, tag.value))
    }
    return changes
  }

  /**
   * The scheduler's time (ms) at which a message would find `deadline` (network time, ms) passed, provided messages keep
   * coming at least every two minutes; undefined before the first patch.
   */
  wallTimeOf(deadline: number): number | undefined {
    return this.clock && this.clock.timestamp + (deadline - this.clock.network)
  }

  #merge(key: string, value: unknown): Change[] {
    switch (key) {
      case 'clock': {
        this.clock = clockView.parse(parseJson(value))
        return [{ kind: 'clock', clock: this.clock }]
      }
      case 'totals':
        this.totals = totalsView.parse(parseJson(value))
        return []
      case 'jobs':
        return present(value, this.jobs).map(text => this.#job(jobView.parse(parseJson(text[1]))))
      case 'prompts':
        for (const [id, prompt] of entries(value)) this.prompts.set(jobId.parse(id), prompt)
        return []
      case 'tokens':
        for (const [key, text] of present(value, this.tokens)) this.tokens.set(key, text)
        return []
      case 'disputes':
        return present(value, this.disputes).map(([id, text]) => {
          const dispute = disputeView.parse(parseJson(text))
          this.disputes.set(id, dispute)
          return { kind: 'dispute', dispute }
        })
      case 'evidence':
        for (const [key, text] of present(value, this.seatAnswers)) this.seatAnswers.set(key, text)
        return []
      case 'miners':
        return present(value, this.miners).map(([address, text]) => {
          const miner = minerView.parse(parseJson(text))
          this.miners.set(address, miner)
          return { kind: 'miner', miner }
        })
      case 'models':
        return present(value, this.models).map(([id, text]) => {
          const model = modelView.parse(parseJson(text))
          this.models.set(id, model)
          return { kind: 'model', model }
        })
      default:
        return []
    }
  }

  #job(job: JobView): Change {
    const before = this.jobs.get(job.id)
    this.jobs.set(job.id, job)
    const ended = ENDED.includes(job.state)
    if (ended) this.prompts.delete(job.id)
    if (ended && !(before && ENDED.includes(before.state))) {
      this.#ended.push(job.id)
      const oldest = this.#ended.length > ENDED_JOBS_KEPT ? this.#ended.shift() : undefined
      if (oldest !== undefined) this.#forget(oldest)
    }
    return { kind: 'job', job, before }
  }

  #forget(job: JobId): void {
    this.jobs.delete(job)
    for (const [id, dispute] of this.disputes) if (dispute.job === job) this.disputes.delete(id)
  }
}

const entries = (value: unknown): [string, string][] => Object.entries(published.parse(value))

/** The entries that are there; those that are published as empty are gone. */
function present(value: unknown, kept: { delete(id: string): boolean }): [string, string][] {
  const all = entries(value)
  for (const [id, text] of all) if (text === '') kept.delete(id)
  return all.filter(([, text]) => text !== '')
}

const parseJson = (value: unknown): unknown => JSON.parse(z.string().parse(value))
