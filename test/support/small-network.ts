import { randomBytes } from 'node:crypto'
import { mkdir, mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { type AoClient, type AoConfig, connectAo } from '@apus/shared/ao'
import type { Wallet } from '@apus/shared/arweave'
import { createLogger, type Logger, sleep } from '@apus/shared/kit'
import { NetworkClient, NetworkFeed } from '@apus/shared/network'
import { NODE_KEY_BYTES, type NodeKey, nodeKey } from '@apus/shared/p2p'
import type { Address, ModelId, ProcessId } from '@apus/shared/protocol'
import { deployContracts } from '../../contracts-lua/tools/deploy-contracts.ts'
import { type RedisServer, startRedis } from '../../deploy/localnet/redis.ts'
import { ensureWallet } from '../../deploy/localnet/wallets.ts'
import type { LoadedModel } from '../../node/src/engine/engine.ts'
import { createMiner, type Miner } from '../../node/src/miner/miner.ts'
import { register } from '../../node/src/work/registration.ts'
import { aoConfig, spawnUnits, type UnitsChild } from './ao-units.ts'
import { LISTED_BUNDLE, listingOf } from './listed-bundle.ts'
import { noOpModel } from './no-op-model.ts'

const APUS = 10n ** 12n
const SUPPLY = 10n ** 21n
const STAKE = 1_000_000n * APUS
const FUNDS = 10_000_000n * APUS
const LISTING = 1_000n * APUS
/** RSA-4096 keys take seconds to make, so those of tests are kept. */
const WALLETS = join(import.meta.dirname, '../../.cache/test-wallets')
/** Networks of one file may be made at the same time, with wallets of the same names. */
const wallets = new Map<string, Promise<Wallet>>()

function walletOf(name: string): Promise<Wallet> {
  const wallet = wallets.get(name) ?? ensureWallet(WALLETS, name)
  wallets.set(name, wallet)
  return wallet
}

export const MODEL = LISTED_BUNDLE.root as ModelId
const MODEL_CLASS = 'apus-machine-1'

export interface SmallNetworkOptions {
  /** Tells the wallets of test files that run at the same time apart. */
  readonly name: string
  readonly miners: number
  readonly parameters?: Readonly<Record<string, number | string>>
}

/** Who takes part: a wallet on AO. */
interface Party {
  readonly address: Address
  readonly wallet: Wallet
  readonly ao: AoClient
  readonly client: NetworkClient
}

interface MinerParty extends Party {
  readonly key: NodeKey
}

/** A real network on this machine, all but its coordinator: AO units as a child process, contracts, miners. */
export interface SmallNetwork {
  readonly dir: string
  readonly network: ProcessId
  readonly token: ProcessId
  readonly ao: AoConfig
  readonly units: UnitsChild
  readonly requester: Party
  readonly miners: readonly MinerParty[]
  readonly log: Logger
  /** A Redis as a child process, stopped with the network. */
  startRedis(): Promise<RedisServer>
  /** A wallet more, without funds. */
  party(name: string): Promise<Party>
  /** Follows the network process; stopped with the network. */
  follow(pollMs: number): Promise<NetworkFeed>
  startMiner(
    miner: MinerParty,
    bootstrap: readonly string[],
    model?: LoadedModel,
    options?: { readonly watch?: boolean },
  ): Promise<Miner>
  /** Whether the books of the contract add up to what the token says it holds, once no notice is on its way. */
  conserved(): Promise<boolean>
  /** Replaces the AO units that were killed. */
  restartUnits(): Promise<void>
  close(): Promise<void>
}

export async function startSmallNetwork(options: SmallNetworkOptions): Promise<SmallNetwork> {
  const dir = await mkdtemp(join(tmpdir(), 'apus-net-'))
  const log = createLogger({ name: options.name, level: 'warn', file: join(dir, 'network.log') })
  const closers: (() => Promise<unknown>)[] = [() => rm(dir, { recursive: true, force: true })]
  const close = async () => {
    for (const closer of closers.splice(0)) await closer()
  }
  try {
    return await open(options, dir, log, closers, close)
  } catch (error) {
    await close()
    throw error
  }
}

async function open(
  { name, miners: count, parameters = {} }: SmallNetworkOptions,
  dir: string,
  log: Logger,
  closers: (() => Promise<unknown>)[],
  close: () => Promise<void>,
): Promise<SmallNetwork> {
  await mkdir(join(dir, 'ao'), { recursive: true })
  let units = await spawnUnits(join(dir, 'ao'))
  closers.unshift(() => units.stop())
  const ao = aoConfig('legacy', units)

  const roles = ['requester', ...Array.from({ length: count }, (_, n) => `miner-${n}`)]
  const made = await Promise.all(roles.map(role => walletOf(`${name}-${role}`)))
  const [first, ...others] = made as [Wallet, ...Wallet[]]
  const balances = new Map(others.map(wallet => [wallet.address, STAKE]))
  balances.set(first.address, SUPPLY - STAKE * BigInt(count))
  const processes = await deployContracts(connectAo(ao, first), {
    balances: Object.fromEntries([...balances].map(([address, units]) => [address, String(units)])),
    parameters,
  })
  const network = processes.network as ProcessId
  const token = processes.token as ProcessId
  const partyOf = (wallet: Wallet): Party => {
    const client = connectAo(ao, wallet)
    return {
      address: wallet.address as Address,
      wallet,
      ao: client,
      client: new NetworkClient(client, { network, token }),
    }
  }
  const requester = partyOf(first)
  const miners = others.map(wallet => ({
    ...partyOf(wallet),
    key: nodeKey(new Uint8Array(randomBytes(NODE_KEY_BYTES))),
  }))

  await requester.client.deposit(FUNDS)
  await until(async () => (await requester.client.account(requester.address)) >= LISTING)
  await requester.client.listModel(
    {
      id: MODEL,
      name: 'no-op',
      class: MODEL_CLASS,
      basePrice: String(APUS),
      tokenPrice: String(APUS / 100n),
      maxContext: 4096,
    },
    listingOf(LISTED_BUNDLE),
  )
  for (const miner of miners) {
    await miner.client.stake(STAKE)
    await register(miner.client, { me: miner.address, key: miner.key }, Date.now())
    await miner.client.serve([MODEL])
  }
  for (const { client, address } of miners) {
    await until(async () => BigInt((await client.miner(address))?.stake ?? 0) === STAKE)
  }

  return {
    dir,
    network,
    token,
    ao,
    get units() {
      return units
    },
    requester,
    miners,
    log,
    close,
    startRedis: async () => {
      const redis = await startRedis({ dir: join(dir, 'redis') })
      closers.unshift(() => redis.stop())
      return redis
    },
    party: async role => partyOf(await walletOf(`${name}-${role}`)),
    follow: async pollMs => {
      const feed = new NetworkFeed(requester.ao, { network, pollMs, onError: () => {} })
      closers.unshift(() => feed.stop())
      await feed.start()
      return feed
    },
    startMiner: async (miner, bootstrap, model = noOpModel(MODEL), options = {}) => {
      const folder = join(dir, miner.address)
      await mkdir(folder, { recursive: true })
      const running = await createMiner(
        {
          journal: join(folder, 'journal.log'),
          answers: join(folder, 'answers'),
          leaves: join(folder, 'evidence'),
          peers: { bootstrap },
          runsPerModel: 64,
          ...options,
        },
        {
          me: miner.address,
          key: miner.key,
          network: miner.client,
          feed: new NetworkFeed(miner.ao, {
            network,
            pollMs: 200,
            onError: err => log.debug({ err }, 'A look at AO failed.'),
          }),
          models: new Map([[MODEL, { class: MODEL_CLASS, model }]]),
          log,
        },
      )
      closers.unshift(() => running.stop())
      return running
    },
    conserved: async () => {
      const balanced = async () => {
        const totals = await requester.client.totals()
        if (totals === undefined) return false
        const { burnt: _burnt, held, ...pools } = totals
        const booked = Object.values(pools).reduce((sum, units) => sum + BigInt(units), 0n)
        return booked === BigInt(held) && booked === (await requester.client.balance(network))
      }
      return until(balanced).then(
        () => true,
        () => false,
      )
    },
    restartUnits: async () => {
      units = await spawnUnits(join(dir, 'ao'), Number(new URL(units.urls.base).port))
    },
  }
}

const PATIENCE_MS = 60_000
const PAUSE_MS = 100

/** Waits until a condition holds; throws after a minute. */
export async function until(
  holds: () => Promise<boolean> | boolean,
  patienceMs = PATIENCE_MS,
): Promise<void> {
  const end = Date.now() + patienceMs
  while (!(await holds())) {
    if (Date.now() > end) throw new Error('What was waited for did not happen.')
    await sleep(PAUSE_MS)
  }
}
