import { randomBytes } from 'node:crypto'
import { toBase64Url } from '@apus/shared/hashing'
import { ApusError } from '@apus/shared/kit'
import { answerRoot } from '@apus/shared/machine'
import {
  type Address,
  commitmentOf,
  type Digest,
  type JobId,
  type JobView,
  type ProcessId,
  type Result,
  resultRoot,
} from '@apus/shared/protocol'
import type { Generation, LoadedModel } from '../../node/src/engine/engine.ts'
import type { Network } from '../../node/src/work/ports.ts'
import { aJob, aSeat, idOf, PROMPT } from './jobs.ts'

export type Mishap = 'none' | 'request-lost' | 'answer-lost'

const lost = () => new ApusError('ao-unreachable', 'AO cannot be reached.', { retry: true, blame: 'nobody' })

/** The network's rules for the one seat of one job, with messages that get lost on the way there or back. */
export class OneSeat {
  readonly network = idOf<ProcessId>()
  readonly me = idOf<Address>()
  job: JobView
  readonly views: JobView[] = []
  /** Every commitment that was ever sent, taken or not. */
  readonly sent: string[] = []
  opened: Result | undefined
  mishap: Mishap = 'none'

  constructor(parts: Partial<JobView> = {}) {
    this.job = aJob({ ...parts, seats: [aSeat(this.me)] })
    this.views.push(this.job)
  }

  /** The time to commit or to reveal is over. */
  deadline(): void {
    const seat = this.job.seats[0]
    if (this.job.state === 'seated' && seat?.state === 'committed') this.#show('revealing', {})
    else if (this.job.state === 'seated' && seat?.state === 'drawn')
      this.#show('expired', { state: 'missed' })
    else if (this.job.state === 'revealing' && seat?.state === 'committed')
      this.#show('expired', { state: 'late' })
    else if (this.job.state === 'agreed') this.#show('settled', {})
  }

  client(): Network {
    return {
      network: this.network,
      job: (id: JobId) => this.#call(() => (id === this.job.id ? this.job : undefined)),
      prompt: () => this.#call(() => PROMPT),
      commit: (_job: JobId, commitment: string) => {
        this.sent.push(commitment)
        return this.#call(() => {
          const seat = this.job.seats[0]
          if (seat?.commitment !== undefined)
            throw new ApusError('already-committed', 'The first one counts.')
          if (seat?.state !== 'drawn') throw new ApusError('seat-lost', 'Too late.')
          this.#show(this.job.state, { state: 'committed', commitment: commitment as Digest })
          return sentMessage()
        })
      },
      reveal: (_job: JobId, salt: string, result: Result) =>
        this.#call(() => {
          const seat = this.job.seats[0]
          if (seat?.resultRoot !== undefined) throw new ApusError('already-revealed', 'Revealed.')
          if (this.job.state === 'seated') throw new ApusError('reveal-too-early', 'Wait.')
          const root = resultRoot(this.network, this.job, result) as Digest
          if (commitmentOf(this.network, this.job.id, this.me, salt, root) !== seat?.commitment)
            throw new ApusError('reveal-mismatch', 'It does not open.')
          this.opened = result
          if (seat.state === 'late') this.#show(this.job.state, { resultRoot: root })
          else this.#show('agreed', { state: 'revealed', resultRoot: root })
          return sentMessage()
        }),
      retract: () =>
        this.#call(() => {
          this.#show('expired', { state: 'missed' })
          return sentMessage()
        }),
    } as unknown as Network
  }

  #show(state: JobView['state'], seat: Partial<JobView['seats'][number]>): void {
    const before = this.job.seats[0] as JobView['seats'][number]
    this.job = { ...this.job, state, seats: [{ ...before, ...seat }] }
    this.views.push(this.job)
  }

  async #call<T>(act: () => T): Promise<T> {
    const { mishap } = this
    this.mishap = 'none'
    await new Promise(setImmediate)
    if (mishap === 'request-lost') throw lost()
    const result = act()
    if (mishap === 'answer-lost') throw lost()
    return result
  }
}

const sentMessage = () => ({ id: idOf(), output: '', messages: [], spawns: [], assignments: [] })

/** A model whose answers are random (a faulty device) or the same for the same job. */
export const aModel = (job: Pick<JobView, 'model'>, pieceOf: (index: number) => Uint8Array): LoadedModel => ({
  info: { id: job.model, name: 'test', context: 64, vocabulary: 256 },
  tokenize: prompt => [...Buffer.from(prompt)],
  generate: async (request, signal): Promise<Generation> => {
    await new Promise(setImmediate)
    signal.throwIfAborted()
    const pieces = Array.from({ length: request.maxTokens }, (_, i) => pieceOf(i))
    return {
      tokens: pieces.map(p => p[0] as number),
      pieces,
      text: Buffer.concat(pieces).toString(),
      finish: 'length',
      checkpointRoot: toBase64Url(answerRoot(pieces)),
      kvRoot: toBase64Url(answerRoot(pieces)),
      answerRoot: toBase64Url(answerRoot(pieces)),
    }
  },
  close: async () => {},
})

export const randomPiece = () => randomBytes(2)
export const steadyPiece = (index: number) => Uint8Array.of(65 + index)
