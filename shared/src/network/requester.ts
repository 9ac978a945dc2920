import { ApusError } from '../kit/errors.ts'
import { type Clock, sleep } from '../kit/time.ts'
import type { Address, JobId } from '../protocol/identity.ts'
import { ENDED, type JobState, type JobView } from '../protocol/job.ts'
import type { ModelView } from '../protocol/views.ts'
import type { JobRequest, NetworkClient } from './network-client.ts'

/** Pause between looks at a job that is on its way. */
const POLL_MS = 150
/** A deposit is two messages between processes. */
const DEPOSIT_TIMEOUT_MS = 60_000

export interface Answer {
  readonly job: JobView
  /** Absent when the answer is too large for AO: `fetchLongAnswer` has it from its miners. */
  readonly text: string | undefined
}

export interface RequesterOptions {
  readonly clock: Clock
  readonly address: Address
}

/** The most a job can cost, in units: every seat at full length, and one audit seat where faults are provable. */
export function priceOf(model: ModelView, maxTokens: number, redundancy: number): bigint {
  const seat = BigInt(model.basePrice) + BigInt(model.tokenPrice) * BigInt(maxTokens)
  return seat * BigInt(redundancy + (model.verifiable ? 1 : 0))
}

/** Asks questions for one wallet: fills its account, submits, waits for the answer. */
export class Requester {
  readonly #client: NetworkClient
  readonly #options: RequesterOptions

  constructor(client: NetworkClient, options: RequesterOptions) {
    this.#client = client
    this.#options = options
  }

  /** Submits a job, first depositing what the account lacks. Errors: `unknown-model`, `deposit-late`, the contract's. */
  async submit(request: JobRequest): Promise<JobId> {
    this.#client.checkJob(request)
    const model = await this.#client.model(request.model)
    if (!model) throw new ApusError('unknown-model', `No model ${request.model} is listed on this network.`)
    if (request.maxTokens > model.maxContext)
      throw new ApusError(
        'bad-tag',
        `An answer has at most ${model.maxContext} tokens, the context of the model.`,
      )
    const redundancy = request.redundancy ?? (await this.#client.parameters()).redundancy
    await this.#fund(priceOf(model, request.maxTokens, redundancy))
    return this.#client.submitJob(request)
  }

  /**
   * Waits until the job is answered; `onState` is told of every state on the way.
   * Errors: the code with which the job ended unanswered (its money is back in the account).
   */
  async answer(id: JobId, signal?: AbortSignal, onState?: (state: JobState) => void): Promise<Answer> {
    let state: JobState | undefined
    for (;;) {
      const job = await this.#client.job(id)
      if (job && job.state !== state) {
        state = job.state
        onState?.(state)
      }
      if (job?.agreed) {
        const answer = await this.#client.answer(id)
        if (answer) return { job, text: answer.text }
      }
      if (job && ENDED.includes(job.state)) {
        throw new ApusError(
          job.code ?? job.state,
          `The job ended as ${job.state}; ${job.refunded ?? 0} units were refunded.`,
          {
            blame: 'nobody',
            details: { job: id },
          },
        )
      }
      await sleep(POLL_MS, signal)
    }
  }

  async #fund(price: bigint): Promise<void> {
    const { clock, address } = this.#options
    const had = await this.#client.account(address)
    if (had >= price) return
    await this.#client.deposit(price - had)
    const deadline = clock.now() + DEPOSIT_TIMEOUT_MS
    while ((await this.#client.account(address)) < price) {
      if (clock.now() > deadline) {
        throw new ApusError('deposit-late', 'The deposit has not arrived yet; it is safe, try again later.', {
          retry: true,
          blame: 'nobody',
        })
      }
      await sleep(POLL_MS)
    }
  }
}
