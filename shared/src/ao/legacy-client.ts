import { connect } from '@permaweb/aoconnect'
import { z } from 'zod'
import type { Wallet } from '../arweave/wallet.ts'
import { ApusError } from '../kit/errors.ts'
import type {
  AoClient,
  AoMessageInput,
  AoResult,
  AoResultPage,
  AoSent,
  AoSignedMessage,
  AoSnapshot,
  AoSpawnInput,
} from './ao-client.ts'
import type { LegacySettings } from './ao-config.ts'
import { applyPatches, type PatchState, readState } from './patch-state.ts'
import { processError, required } from './process-error.ts'
import { fetchKeys, fetchState } from './published-state.ts'
import { badAnswer, checkedFetch, readResult, retrying } from './requests.ts'
import { fetchScheduled } from './scheduled-message.ts'
import { checkSendable, dataOf, SigningOnce } from './signing.ts'

const DEFAULT_PAGE = 100

const pageSchema = z.object({
  pageInfo: z.object({ hasNextPage: z.boolean() }).optional(),
  edges: z.array(z.object({ cursor: z.string(), node: z.unknown() })),
})

type Connected = ReturnType<typeof connectLegacy>
const connectLegacy = (settings: LegacySettings, timedFetch: typeof fetch) =>
  connect({
    MODE: 'legacy',
    noLog: true,
    MU_URL: settings.muUrl,
    CU_URL: settings.cuUrl,
    GRAPHQL_URL: settings.graphqlUrl,
    fetch: timedFetch,
  } as Parameters<typeof connect>[0] & { MODE: 'legacy' })

/** AO through a messenger and a compute unit. */
export class LegacyClient implements AoClient {
  readonly mode = 'legacy'
  readonly #settings: LegacySettings
  readonly #wallet: Wallet | undefined
  readonly #gathered = new Map<string, { cursor: string | undefined; state: PatchState }>()

  constructor(settings: LegacySettings, wallet: Wallet | undefined) {
    this.#settings = settings
    this.#wallet = wallet
  }

  get address(): string | undefined {
    return this.#wallet?.address
  }

  async spawn({ tags = [], data, ...given }: AoSpawnInput): Promise<string> {
    checkSendable({ tags })
    const module = required(given.module ?? this.#settings.module, 'module')
    const scheduler = required(given.scheduler ?? this.#settings.scheduler, 'scheduler')
    const authority = required(given.authority ?? this.#settings.authority ?? scheduler, 'authority')
    const all = [{ name: 'Authority', value: authority }, ...tags]
    const { signer } = this.#signing()
    return this.#call('a spawn', ao => ao.spawn({ module, scheduler, signer, tags: all, data: dataOf(data) }))
  }

  async send(message: AoMessageInput): Promise<AoSent> {
    checkSendable(message)
    const { process, tags, data } = message
    const signing = this.#signing()
    const input = { process, signer: signing.signer, tags: [...tags], data: dataOf(data) }
    await this.#call('a message', ao => ao.message(input as Parameters<typeof ao.message>[0]))
    return { id: await signing.id() }
  }

  result(process: string, { id }: AoSent): Promise<AoResult> {
    return this.#call('a result', async ao => readResult(await ao.result({ process, message: id })))
  }

  async sendAndWait(message: AoMessageInput): Promise<AoSent & AoResult> {
    const sent = await this.send(message)
    const result = await this.result(message.process, sent)
    if (result.error !== undefined) throw processError(message.process, sent, result.error)
    return { ...sent, ...result }
  }

  dryRun({ process, tags, data }: AoMessageInput): Promise<AoResult> {
    const input = { process, tags: [...tags], data: dataOf(data) }
    return this.#call('a dry run', async ao => readResult(await ao.dryrun(input)))
  }

  results(
    process: string,
    { after, limit = DEFAULT_PAGE }: { after?: string | undefined; limit?: number } = {},
  ): Promise<AoResultPage> {
    return this.#page({ process, limit, sort: 'ASC', ...(after === undefined ? {} : { from: after }) })
  }

  async snapshot(process: string, keys: readonly string[]): Promise<AoSnapshot | undefined> {
    const { stateUrl, attempts, timeoutMs } = this.#settings
    if (!stateUrl) return undefined
    const [last] = (await this.#page({ process, limit: 1, sort: 'DESC' })).edges
    if (!last) return undefined
    const state = await retrying(attempts, () => fetchKeys(stateUrl, process, keys, timeoutMs))
    return { cursor: last.cursor, state }
  }

  async state(process: string, path: string, at: 'now' | 'compute' = 'now'): Promise<unknown> {
    const { stateUrl, attempts, timeoutMs } = this.#settings
    if (stateUrl) return retrying(attempts, () => fetchState(stateUrl, process, path, at, timeoutMs))
    const keys = path.split('/').filter(key => key !== '')
    return readState(await this.#gather(process), keys)
  }

  async message(process: string, id: string): Promise<AoSignedMessage> {
    const { suUrl, attempts, timeoutMs } = this.#settings
    if (!suUrl)
      throw new ApusError('ao-unsupported', 'No scheduler unit is configured to read messages from.')
    return retrying(attempts, () => fetchScheduled(suUrl, process, id, timeoutMs))
  }

  async assign(process: string, message: string): Promise<void> {
    await this.#call('an assignment', ao => ao.assign({ process, message }))
  }

  async monitor(process: string): Promise<void> {
    const { signer } = this.#signing()
    await this.#call('monitoring', ao => ao.monitor({ process, signer }))
  }

  async unmonitor(process: string): Promise<void> {
    const { signer } = this.#signing()
    await this.#call('monitoring', ao => ao.unmonitor({ process, signer }))
  }

  /** Without a node that serves state it follows from the results, each of which is read once. */
  async #gather(process: string): Promise<PatchState> {
    const gathered = this.#gathered.get(process) ?? { cursor: undefined, state: {} }
    this.#gathered.set(process, gathered)
    for (let more = true; more; ) {
      const from = gathered.cursor
      const page = await this.results(process, { after: from })
      if (gathered.cursor !== from) continue
      for (const { cursor, result } of page.edges) {
        gathered.cursor = cursor
        gathered.state = applyPatches(gathered.state, result.messages)
      }
      more = page.more
    }
    return gathered.state
  }

  #page(input: {
    readonly process: string
    readonly limit: number
    readonly sort: 'ASC' | 'DESC'
    readonly from?: string
  }): Promise<AoResultPage> {
    return this.#call('results', async ao => {
      const page = pageSchema.safeParse(await ao.results(input))
      if (!page.success) throw badAnswer('results', page.error)
      const { edges, pageInfo } = page.data
      return {
        edges: edges.map(({ cursor, node }) => ({ cursor, result: readResult(node) })),
        more: pageInfo?.hasNextPage ?? edges.length === input.limit,
      }
    })
  }

  #signing(): SigningOnce {
    if (!this.#wallet) throw new ApusError('wallet-missing', 'Sending to AO needs a wallet.')
    return new SigningOnce(this.#wallet)
  }

  /**
   * aoconnect does not look at the status of most answers and loses the cause of failures, so each try watches its
   * own requests and tells what went wrong with them.
   */
  #call<T>(what: string, call: (ao: Connected) => Promise<T>): Promise<T> {
    const { attempts, timeoutMs } = this.#settings
    return retrying(attempts, async () => {
      let failure: unknown
      const watched = async (input: string | URL | Request, init: RequestInit = {}): Promise<Response> => {
        try {
          return await checkedFetch(input, init, timeoutMs)
        } catch (error) {
          failure = error
          throw error
        }
      }
      try {
        return await call(connectLegacy(this.#settings, watched))
      } catch (error) {
        if (failure) throw failure
        if (error instanceof ApusError) throw error
        throw badAnswer(what, error)
      }
    })
  }
}
