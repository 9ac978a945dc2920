import { connect } from '@permaweb/aoconnect'
import { z } from 'zod'
import type { ItemSigner } from '../arweave/data-item.ts'
import type { Wallet } from '../arweave/wallet.ts'
import { ApusError } from '../kit/errors.ts'
import type {
  AoClient,
  AoMessageInput,
  AoResult,
  AoResultEdge,
  AoResultPage,
  AoSent,
  AoSnapshot,
  AoSpawnInput,
} from './ao-client.ts'
import type { MainnetSettings } from './ao-config.ts'
import { processError, required } from './process-error.ts'
import { fetchKeys, fetchState } from './published-state.ts'
import { badAnswer, checked, checkedFetch, readResult, retrying, within } from './requests.ts'
import { type ConnectSigner, checkSendable, dataOf, readerKey, SigningOnce } from './signing.ts'

const DEFAULT_PAGE = 100

const pushedSchema = z.object({ slot: z.coerce.number().int().nonnegative() })
const computedSchema = z.object({ raw: z.unknown() })

/** Parameters that aoconnect gives its own calls of the same names. */
const SIGNED = { method: 'POST', 'signing-format': 'ans104', 'accept-bundle': 'true' }
const AS_JSON = { ...SIGNED, 'require-codec': 'application/json' }
const AS_MESSAGE = { ...SIGNED, 'accept-codec': 'httpsig@1.0' }
const ao = (type: 'Message' | 'Process') => ({ Type: type, 'Data-Protocol': 'ao', Variant: 'ao.N.1' })

type Parameters_ = Readonly<Record<string, string>>

const unsupported = (what: string): ApusError =>
  new ApusError('ao-unsupported', `A HyperBEAM node has no ${what}.`, { blame: 'nobody' })

/**
 * AO through a HyperBEAM node. It uses aoconnect's `request`, which gives the answer itself: the calls above it
 * hide the status, drop what they do not expect, and let environment variables replace their arguments.
 */
export class MainnetClient implements AoClient {
  readonly mode = 'mainnet'
  readonly #settings: MainnetSettings
  readonly #wallet: Wallet | undefined
  readonly #reader: ItemSigner = readerKey()

  constructor(settings: MainnetSettings, wallet: Wallet | undefined) {
    this.#settings = settings
    this.#wallet = wallet
  }

  get address(): string | undefined {
    return this.#wallet?.address
  }

  async spawn({ tags = [], data, ...given }: AoSpawnInput): Promise<string> {
    checkSendable({ tags })
    const scheduler = required(given.scheduler ?? this.#settings.scheduler, 'scheduler')
    const parameters = {
      path: '/push',
      device: 'process@1.0',
      'scheduler-device': 'scheduler@1.0',
      'push-device': 'push@1.0',
      'execution-device': 'genesis-wasm@1.0',
      Authority: given.authority ?? this.#settings.authority ?? scheduler,
      Scheduler: scheduler,
      Module: required(given.module ?? this.#settings.module, 'module'),
      data: dataOf(data),
      ...record(tags),
      ...ao('Process'),
      ...AS_MESSAGE,
    }
    const response = await this.#request(parameters, this.#signing().signer)
    const process = response.headers.get('process')
    if (!process) throw badAnswer('a spawn')
    return process
  }

  async send(message: AoMessageInput): Promise<AoSent> {
    checkSendable(message)
    const signing = this.#signing()
    const parameters = {
      path: `/${message.process}~process@1.0/push`,
      target: message.process,
      data: dataOf(message.data),
      ...record(message.tags),
      ...ao('Message'),
      ...AS_JSON,
    }
    const { slot } = await this.#json(parameters, signing.signer, pushedSchema)
    return { id: await signing.id(), slot }
  }

  async result(process: string, { id, slot }: AoSent): Promise<AoResult> {
    if (slot === undefined)
      throw new ApusError(
        'ao-not-found',
        `The result of the message ${id} can be fetched only by its slot, which is not known.`,
      )
    return this.#compute(process, `/${process}~process@1.0/compute/results=${slot}`, '1984')
  }

  async sendAndWait(message: AoMessageInput): Promise<AoSent & AoResult> {
    const sent = await this.send(message)
    const result = await this.result(message.process, sent)
    if (result.error !== undefined) throw processError(message.process, sent, result.error)
    return { ...sent, ...result }
  }

  dryRun({ process, tags, data }: AoMessageInput): Promise<AoResult> {
    const pairs = tags.map(({ name, value }) => `&${encodeURIComponent(name)}=${encodeURIComponent(value)}`)
    return this.#compute(
      process,
      `/${process}~process@1.0/as=execution/compute${pairs.join('')}`,
      dataOf(data),
    )
  }

  async results(
    process: string,
    { after, limit = DEFAULT_PAGE }: { after?: string | undefined; limit?: number } = {},
  ): Promise<AoResultPage> {
    const current = await this.#currentSlot(process)
    const first = after === undefined ? 0 : Number(after) + 1
    if (!Number.isSafeInteger(first)) throw new ApusError('ao-refused', 'The cursor is not a slot.')
    const edges: AoResultEdge[] = []
    for (let slot = first; slot <= current && edges.length < limit; slot++)
      edges.push({ cursor: String(slot), result: await this.result(process, { id: '', slot }) })
    return { edges, more: first + edges.length <= current }
  }

  state(process: string, path: string, at: 'now' | 'compute' = 'now'): Promise<unknown> {
    const { url, attempts, timeoutMs } = this.#settings
    return retrying(attempts, () => fetchState(url, process, path, at, timeoutMs))
  }

  async snapshot(process: string, keys: readonly string[]): Promise<AoSnapshot> {
    const { url, attempts, timeoutMs } = this.#settings
    const cursor = String(await this.#currentSlot(process))
    return { cursor, state: await retrying(attempts, () => fetchKeys(url, process, keys, timeoutMs)) }
  }

  async message(): Promise<never> {
    throw unsupported('messages by their ids')
  }

  async assign(): Promise<never> {
    throw unsupported('assignments')
  }

  async monitor(): Promise<never> {
    throw unsupported('monitoring')
  }

  async unmonitor(): Promise<never> {
    throw unsupported('monitoring')
  }

  #currentSlot(process: string): Promise<number> {
    const { url, attempts, timeoutMs } = this.#settings
    return retrying(attempts, async () => {
      const path = `${url.replace(/\/$/, '')}/${process}~process@1.0/slot/current`
      const text = await (await checkedFetch(path, {}, timeoutMs)).text()
      if (!/^\d+$/.test(text)) throw badAnswer('the current slot')
      return Number(text)
    })
  }

  async #compute(process: string, path: string, data: string): Promise<AoResult> {
    const { signer } = new SigningOnce(this.#reader)
    const { raw } = await this.#json({ path, target: process, data, ...AS_JSON }, signer, computedSchema)
    return readResult(raw)
  }

  async #json<T extends z.ZodType>(
    parameters: Parameters_,
    signer: ConnectSigner,
    schema: T,
  ): Promise<z.output<T>> {
    const { timeoutMs, attempts } = this.#settings
    return retrying(attempts, async () => {
      const response = await this.#once(parameters, signer)
      const body = await within(timeoutMs, response.json()).catch(cause => {
        throw badAnswer(parameters.path ?? 'a request', cause)
      })
      const parsed = schema.safeParse(body)
      if (!parsed.success) throw badAnswer(parameters.path ?? 'a request', parsed.error)
      return parsed.data
    })
  }

  #request(parameters: Parameters_, signer: ConnectSigner): Promise<Response> {
    return retrying(this.#settings.attempts, () => this.#once(parameters, signer))
  }

  async #once(parameters: Parameters_, signer: ConnectSigner): Promise<Response> {
    const { url, timeoutMs } = this.#settings
    const { request } = connect({ MODE: 'mainnet', URL: url, signer } as never) as unknown as {
      request(parameters: Parameters_): Promise<Response>
    }
    return checked(await within(timeoutMs, request(parameters)))
  }

  #signing(): SigningOnce {
    if (!this.#wallet) throw new ApusError('wallet-missing', 'Sending to AO needs a wallet.')
    return new SigningOnce(this.#wallet)
  }
}

const record = (tags: AoMessageInput['tags']): Parameters_ =>
  Object.fromEntries(tags.map(({ name, value }) => [name, value]))
