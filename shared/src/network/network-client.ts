import { z } from 'zod'
import type { AoClient, AoEmittedMessage } from '../ao/ao-client.ts'
import type { Tag } from '../arweave/data-item.ts'
import type { DisputeMessage } from '../dispute/message.ts'
import type { VoidProof } from '../dispute/void-proof.ts'
import { ApusError } from '../kit/errors.ts'
import type { DepositAction, NetworkAction, TokenAction } from '../protocol/actions.ts'
import { type Address, amount, type JobId, type ModelId, type ProcessId } from '../protocol/identity.ts'
import { type JobView, jobView, type PromptFormat } from '../protocol/job.ts'
import { checkNetworkMessage, checkTokenMessage } from '../protocol/message-rules.ts'
import type { Result } from '../protocol/round.ts'
import type { SamplerSettings } from '../protocol/sampler.ts'
import {
  type AnswerView,
  answerView,
  type MinerView,
  type ModelView,
  minerView,
  modelView,
  type ParametersView,
  parametersView,
  type TotalsView,
  totalsView,
} from '../protocol/views.ts'

export interface JobRequest {
  readonly model: ModelId
  readonly prompt: string
  readonly maxTokens: number
  readonly format?: PromptFormat
  readonly redundancy?: number
  readonly sampler?: Partial<SamplerSettings>
  readonly stop?: readonly string[]
  readonly reference?: string
  /** Root of the prompt's tokens, when the requester tokenised. */
  readonly promptTokens?: string
}

/** Chosen tokens (base64), and the answer in the message itself, base64 a piece, or where it is kept: an id and its bytes. */
export type RevealedAnswer = { readonly tokens: string } & (
  | { readonly pieces: readonly string[] }
  | { readonly id: string; readonly size: number }
)

export interface Registration {
  readonly peer: string
  /** Ed25519 signature of the node key over the binding statement, base64url. */
  readonly nodeSignature: string
  /** Milliseconds since the epoch. */
  readonly expires: number
}

type Tags = Readonly<Record<string, string | undefined>>

/**
 * The network and token processes as typed calls of one wallet. Refusals throw ApusError with the contract's code; what it would
 * refuse in any state is not even sent.
 */
export class NetworkClient {
  readonly network: ProcessId
  readonly token: ProcessId
  readonly #ao: Pick<AoClient, 'sendAndWait' | 'state'>

  constructor(
    ao: Pick<AoClient, 'sendAndWait' | 'state'>,
    processes: { readonly network: ProcessId; readonly token: ProcessId },
  ) {
    this.#ao = ao
    this.network = processes.network
    this.token = processes.token
  }

  register = (r: Registration) =>
    this.#act('Register', {
      'Peer-Id': r.peer,
      'Node-Signature': r.nodeSignature,
      Expires: String(r.expires),
    })
  unregister = () => this.#act('Unregister', {})
  serve = (models: readonly ModelId[]) => this.#act('Serve', {}, JSON.stringify(models))
  pause = () => this.#act('Pause', {})
  resume = () => this.#act('Resume', {})
  unstake = (quantity: bigint) => this.#act('Unstake', { Quantity: String(quantity) })
  withdraw = (quantity: bigint) => this.#act('Withdraw', { Quantity: String(quantity) })
  tick = (limit?: number) => this.#act('Tick', { Limit: limit?.toString() })
  cancelJob = (job: JobId) => this.#act('Cancel-Job', { Job: job })
  retract = (job: JobId) => this.#act('Retract', { Job: job })

  /** Takes a listing back: no more jobs, and the bond returns to the account when the last one is over. */
  delistModel = (model: ModelId) => this.#act('Delist-Model', { Model: model })

  /** Shows a leaf of the bundle that the machine does not allow, alone or with the first segment of its rows. */
  voidModel = (model: ModelId, leaf: number, proof: VoidProof) =>
    this.#act('Void-Model', { Model: model, Leaf: String(leaf) }, JSON.stringify(proof))

  listModel = (model: Omit<ModelView, 'lister' | 'verifiable'>, header: unknown = {}) =>
    this.#act(
      'List-Model',
      {
        Model: model.id,
        Name: model.name,
        Class: model.class,
        'Base-Price': model.basePrice,
        'Token-Price': model.tokenPrice,
        'Max-Context': String(model.maxContext),
      },
      JSON.stringify(header),
    )

  commit = (job: JobId, commitment: string, promptTokens: string) =>
    this.#act('Commit', { Job: job, 'Output-Commitment': commitment, 'Prompt-Tokens': promptTokens })

  /** Opens a commitment. */
  reveal = (job: JobId, salt: string, result: Result, answer: RevealedAnswer) =>
    this.#act(
      'Reveal',
      {
        Job: job,
        Salt: salt,
        Count: String(result.count),
        Finish: result.finish,
        'Token-Digest': result.tokenDigest,
        'Checkpoint-Root': result.checkpointRoot,
        'Kv-Root': result.kvRoot,
        'Answer-Root': result.answerRoot,
        'Answer-Id': 'id' in answer ? answer.id : undefined,
        'Answer-Size': 'id' in answer ? String(answer.size) : undefined,
      },
      JSON.stringify({ tokens: answer.tokens, ...('pieces' in answer ? { pieces: answer.pieces } : {}) }),
    )

  /** Sends a message of a dispute; resolves to its id, which is that of the dispute when it opens one. */
  async dispute({ action, tags, data }: DisputeMessage): Promise<string> {
    const { id } = await this.#act(action, tags, data === undefined ? undefined : JSON.stringify(data))
    return id
  }

  /** Refuses a request that the contract would refuse in any state: before money moves for it. */
  checkJob = (request: JobRequest): void =>
    checkNetworkMessage('Submit-Job', { tags: jobTags(request, ''), data: request.prompt })

  /** Pays for a job from this wallet's account; resolves to the job id. */
  async submitJob(request: JobRequest): Promise<JobId> {
    const { id } = await this.#act('Submit-Job', jobTags(request, ''), request.prompt)
    return id as JobId
  }

  /** Pays for a job by a token transfer of `quantity`; its job id is published with `reference`. */
  payForJob = (request: JobRequest & { readonly reference: string }, quantity: bigint) =>
    this.#pay('Submit-Job', quantity, jobTags(request, 'X-'), request.prompt)
  stake = (quantity: bigint) => this.#pay('Stake', quantity, {})
  deposit = (quantity: bigint) => this.#pay('Deposit', quantity, {})

  transfer = (recipient: Address | ProcessId, quantity: bigint) =>
    this.#onToken('Transfer', { Recipient: recipient, Quantity: String(quantity) })

  batchTransfer = (transfers: readonly { readonly recipient: string; readonly quantity: bigint }[]) =>
    this.#onToken('Batch-Transfer', {}, transfers.map(t => `${t.recipient},${t.quantity}`).join('\n'))

  /** Tokens that an address holds, in units. */
  async balance(owner: string): Promise<bigint> {
    const { messages } = await this.#onToken('Balance', { Recipient: owner })
    return BigInt(z.string().parse(messages[0]?.Data))
  }

  async totalSupply(): Promise<bigint> {
    const { messages } = await this.#onToken('Total-Supply', {})
    return BigInt(z.string().parse(messages[0]?.Data))
  }

  /** Every holder of the token with its units, a page at a time. */
  async balances(): Promise<Map<string, bigint>> {
    const all = new Map<string, bigint>()
    for (let cursor: string | undefined; ; ) {
      const { messages } = await this.#onToken('Balances', { Cursor: cursor })
      const page = z.record(z.string(), amount).parse(JSON.parse(z.string().parse(messages[0]?.Data)))
      for (const [holder, units] of Object.entries(page)) all.set(holder, BigInt(units))
      cursor = messages[0] && tagOf(messages[0], 'Next-Cursor')
      if (cursor === undefined) return all
    }
  }

  job = (id: JobId): Promise<JobView | undefined> => this.#read(`jobs/${id}`, jobView)
  miner = (address: Address): Promise<MinerView | undefined> => this.#read(`miners/${address}`, minerView)
  model = (id: ModelId): Promise<ModelView | undefined> => this.#read(`models/${id}`, modelView)
  /** The tunables that the network was deployed with. Errors: `network-unknown`. */
  async parameters(): Promise<ParametersView> {
    const found = await this.#read('parameters', parametersView)
    if (found) return found
    throw new ApusError(
      'network-unknown',
      `The process ${this.network} publishes no parameters of a network.`,
    )
  }
  totals = (): Promise<TotalsView | undefined> => this.#read('totals', totalsView)

  /** Units in an address's account with the network. */
  async account(address: string): Promise<bigint> {
    const value = await this.#ao.state(this.network, `accounts/${address}`)
    return value === undefined ? 0n : BigInt(z.coerce.string().parse(value))
  }

  answer = (id: JobId): Promise<AnswerView | undefined> => this.#read(`answers/${id}`, answerView)

  async prompt(id: JobId): Promise<string | undefined> {
    const value = await this.#ao.state(this.network, `prompts/${id}`)
    return typeof value === 'string' ? value : undefined
  }

  async #read<T extends z.ZodType>(path: string, schema: T): Promise<z.output<T> | undefined> {
    const value = await this.#ao.state(this.network, path)
    if (value === undefined || value === '') return undefined
    return schema.parse(typeof value === 'string' ? JSON.parse(value) : value)
  }

  async #act(action: NetworkAction, tags: Tags, data?: string) {
    checkNetworkMessage(action, { tags, data })
    return this.#call(this.network, action, tags, data)
  }

  async #onToken(action: TokenAction, tags: Tags, data?: string) {
    checkTokenMessage(action, { tags, data })
    return this.#call(this.token, action, tags, data)
  }

  #pay(action: DepositAction, quantity: bigint, tags: Tags, data?: string) {
    const transfer = { Recipient: this.network, Quantity: String(quantity), 'X-Action': action, ...tags }
    return this.#onToken('Transfer', transfer, data)
  }

  async #call(process: ProcessId, action: TokenAction | NetworkAction, tags: Tags, data?: string) {
    const answer = await this.#ao.sendAndWait({
      process,
      tags: tagList({ Action: action, ...tags }),
      ...(data === undefined ? {} : { data }),
    })
    for (const message of answer.messages) {
      const kind = tagOf(message, 'Action')
      if (kind !== 'Error' && kind !== 'Transfer-Error') continue
      throw new ApusError(
        tagOf(message, 'Code') ?? 'refused',
        String(message.Data ?? `${action} was refused.`),
        {
          details: { action, message: answer.id },
        },
      )
    }
    return answer
  }
}

/** The text value of a message's first tag of that name. */
export function tagOf(message: AoEmittedMessage, name: string): string | undefined {
  const value = message.Tags.find(tag => tag.name === name)?.value
  return typeof value === 'string' ? value : undefined
}

const tagList = (tags: Tags): Tag[] =>
  Object.entries(tags).flatMap(([name, value]) => (value === undefined ? [] : [{ name, value }]))

function jobTags(request: JobRequest, prefix: 'X-' | ''): Tags {
  const tags: Tags = {
    Model: request.model,
    'Max-Tokens': String(request.maxTokens),
    Format: request.format,
    Redundancy: request.redundancy?.toString(),
    Sampler: request.sampler && JSON.stringify(request.sampler),
    Stop: request.stop && JSON.stringify(request.stop),
    Reference: request.reference,
    'Prompt-Tokens': request.promptTokens,
  }
  return Object.fromEntries(Object.entries(tags).map(([name, value]) => [prefix + name, value]))
}
