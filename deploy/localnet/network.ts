import { randomBytes } from 'node:crypto'
import { copyFile, mkdir, readFile, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { type AoClient, aoConfigSchema, connectAo } from '@apus/shared/ao'
import type { Wallet } from '@apus/shared/arweave'
import { ApusError, readConfig, sleep } from '@apus/shared/kit'
import {
  NetworkClient,
  type NetworkFile,
  networkFileSchema,
  readNetworkFile,
  writeNetworkFile,
} from '@apus/shared/network'
import { NODE_KEY_BYTES, type NodeKey, nodeKey } from '@apus/shared/p2p'
import type { Address, ModelId, ProcessId } from '@apus/shared/protocol'
import { z } from 'zod'
import { deployContracts, runsTheseContracts } from '../../contracts-lua/tools/deploy-contracts.ts'
import { register } from '../../node/src/work/registration.ts'
import { findRedis } from '../setup/redis.mjs'
import type { findSoftwareGpus } from '../setup/software-gpu.mjs'
import { Child, type Program } from './child.ts'
import { embeddedBundle, embeddedGguf, type LocalModel } from './embedded-model.ts'
import type { Cheat } from './miners/faulty-miner.ts'
import { LOCAL_PARAMETERS } from './parameters.ts'
import { freePort, type RedisServer, startRedis } from './redis.ts'
import { ensureWallet } from './wallets.ts'

type SoftwareGpu = Awaited<ReturnType<typeof findSoftwareGpus>>[number]

const APUS = 10n ** 12n
const SUPPLY = 10n ** 21n
const STAKE = 20_000n * APUS
const REQUESTER_FUNDS = 10_000n * APUS
const BASE_PRICE = APUS
const TOKEN_PRICE = APUS / 100n
const LISTING_FUNDS = 1_000n * APUS
const MAX_CONTEXT = 256
const POLL_MS = 200
const COORDINATOR_POLL_MS = 250
const MONEY_TIMEOUT_MS = 30_000

const ROOT = join(import.meta.dirname, '..', '..')
const AO_PROGRAM = join(ROOT, 'deploy', 'ao-units', 'main.ts')
const COORDINATOR_PROGRAM = join(ROOT, 'coordinator', 'src', 'main.ts')
const MINERS_PROGRAM = join(import.meta.dirname, 'miners', 'miners.ts')

export interface MinerRole {
  readonly name: string
  readonly cheat?: Cheat
  /** Computes on the software GPU where the machine has one. */
  readonly gpu?: boolean
}

/** Four are honest, one lies, one commits and then says nothing. */
export const DEMONSTRATION_MINERS: readonly MinerRole[] = [
  { name: 'ada' },
  { name: 'ben' },
  { name: 'cy' },
  { name: 'dee', gpu: true },
  { name: 'liar', cheat: 'wrong-result' },
  { name: 'mute', cheat: 'silent-after-commit' },
]

export interface LocalNetworkOptions {
  /** Everything the network remembers; a network found there goes on. */
  readonly dir: string
  /** Wallets are kept apart, since making one takes a second. */
  readonly wallets: string
  readonly miners: readonly MinerRole[]
  readonly parameters?: Readonly<Record<string, number>>
  readonly gpu?: SoftwareGpu | undefined
  readonly report: (step: string) => void
}

/** A whole network of real programs on this machine. */
export interface LocalNetwork {
  readonly file: NetworkFile
  /** The embedded model on the integer machine, and on llama.cpp where that has a build for this machine. */
  readonly bundle: ModelId
  readonly gguf: ModelId | undefined
  /** What this machine has no part for, and what the network does in its place; a sentence each. */
  readonly lacks: readonly string[]
  readonly redundancy: number
  readonly roles: readonly string[]
  readonly ao: Readonly<Record<'operator' | 'requester', AoClient>>
  readonly units: Child
  /** Undefined where the machine has none: the coordinator keeps its board in memory. */
  readonly redis: RedisServer | undefined
  readonly coordinator: Child
  /** All of them: one process. */
  readonly miners: Child
  address(role: string): Address
  stop(): Promise<void>
}

const unitsReady = z.object({
  urls: z.object({ base: z.string(), mu: z.string(), cu: z.string(), su: z.string(), graphql: z.string() }),
  authority: z.string(),
  moduleId: z.string(),
})

/** Starts AO units, contracts, Redis where there is one, coordinator and miners; stops what it started when one of them fails. */
export async function startLocalNetwork(options: LocalNetworkOptions): Promise<LocalNetwork> {
  const { dir, report, miners } = options
  const stops: (() => Promise<unknown>)[] = []
  const stop = async () => {
    for (const end of stops.splice(0).reverse()) await end()
  }
  const start = async (program: Program) => {
    const child = await Child.start(program)
    stops.push(() => child.stop())
    return child
  }
  const logFile = (name: string) => join(dir, 'logs', `${name}.log`)
  try {
    await mkdir(dir, { recursive: true })
    report('starting AO units and Redis, making wallets')
    const redisProgram = await findRedis()
    const roles = ['operator', 'requester', 'coordinator', ...miners.map(miner => miner.name)]
    const [units, redis, bundle, gguf, ...wallets] = await allStarted([
      start({
        name: 'ao-units',
        script: AO_PROGRAM,
        args: ['--dir', join(dir, 'ao'), '--port', String(await freePort())],
        logFile: logFile('ao-units'),
      }),
      redisProgram.path === undefined
        ? undefined
        : startRedis({ dir: join(dir, 'redis'), program: redisProgram.path }).then(server => {
            stops.push(() => server.stop())
            return server
          }),
      embeddedBundle(),
      embeddedGguf(),
      ...roles.map(role => ensureWallet(options.wallets, role)),
    ])
    const models = gguf === undefined ? { bundle } : { bundle, gguf }
    const walletOf = new Map(roles.map((role, i) => [role, wallets[i] as Wallet]))
    const wallet = (role: string): Wallet => {
      const found = walletOf.get(role)
      if (!found) throw new RangeError(`there is no ${role} in this network`)
      return found
    }
    const { urls, authority, moduleId } = unitsReady.parse(units.ready)
    const ao = readConfig(aoConfigSchema, {
      mode: 'legacy',
      muUrl: urls.mu,
      cuUrl: urls.cu,
      graphqlUrl: urls.graphql,
      stateUrl: urls.base,
      suUrl: urls.su,
      module: moduleId,
      scheduler: authority,
      authority,
    })
    const clients = {
      operator: connectAo(ao, wallet('operator')),
      requester: connectAo(ao, wallet('requester')),
    }
    const path = join(dir, 'network.json')
    const known = await readNetworkFile(path).catch(() => undefined)
    let file: NetworkFile
    if (known) {
      await mustRunTheseContracts(clients.operator, known.network, dir)
      file = { ...known, ao, gateway: urls.base }
    } else {
      report('deploying the contracts')
      const { token, network } = await deployContracts(clients.operator, {
        balances: { [wallet('operator').address]: String(SUPPLY) },
        parameters: { ...LOCAL_PARAMETERS, ...options.parameters },
      })
      file = networkFileSchema.parse({ token, network, ao, gateway: urls.base, defaultModel: bundle.id })
      report('funding wallets, listing models, staking')
      const processes = file
      const parties = await Promise.all(
        miners.map(async ({ name }) => ({
          address: wallet(name).address as Address,
          key: await keyIn(minerHome(dir, name)),
          client: new NetworkClient(connectAo(ao, wallet(name)), processes),
        })),
      )
      const operator = new NetworkClient(clients.operator, processes)
      await fund(operator, Object.values(models), parties, wallet('requester').address)
    }
    report(`starting the coordinator and ${miners.length} miners`)
    const coordinatorHome = join(dir, 'coordinator')
    const port = await freePort()
    const { peer } = await keyIn(coordinatorHome)
    const network = { ...file, bootstrap: [`/ip4/127.0.0.1/tcp/${port}/p2p/${peer}`] }
    await writeNetworkFile(path, network)
    await writeCoordinatorConfig(coordinatorHome, network, options.wallets, redis?.url, port)
    const homes = await Promise.all(
      miners.map(miner =>
        prepareMiner(dir, network, options.wallets, options.gpu ? miner : { ...miner, gpu: false }, models),
      ),
    )
    const [coordinator, minerProcess] = await allStarted([
      start({
        name: 'coordinator',
        script: COORDINATOR_PROGRAM,
        args: ['start', '--config', join(coordinatorHome, 'config.json')],
        logFile: logFile('coordinator'),
      }),
      start({
        name: 'miners',
        script: MINERS_PROGRAM,
        args: homes,
        ...(options.gpu ? { env: options.gpu.env } : {}),
        logFile: logFile('miners'),
      }),
    ])
    return {
      file: network,
      bundle: bundle.id,
      gguf: gguf?.id,
      lacks: [
        ...(redisProgram.missing === undefined ? [] : [withoutRedis(redisProgram.missing)]),
        ...(gguf === undefined ? [WITHOUT_LLAMA_CPP] : []),
      ],
      redundancy: miners.length,
      roles,
      ao: clients,
      units,
      redis,
      coordinator,
      miners: minerProcess,
      address: role => wallet(role).address as Address,
      stop,
    }
  } catch (error) {
    await stop()
    throw error
  }
}

const withoutRedis = (missing: string): string =>
  `${missing}, so the board of tasks is in memory: tasks in hand are forgotten when the coordinator stops, and are posted again from AO.`
const WITHOUT_LLAMA_CPP =
  'llama.cpp has no build for this machine, so all miners compute on the integer machine alone (engine-unavailable).'

/** Like `Promise.all`, but a failure waits for the others: what starts meanwhile must be there to be stopped. */
async function allStarted<const T extends readonly unknown[]>(starting: T) {
  await Promise.allSettled(starting)
  return Promise.all(starting)
}

interface MinerParty {
  readonly address: Address
  readonly key: NodeKey
  readonly client: NetworkClient
}

/** A network that was kept goes on only under the contracts that its programs were made for. */
async function mustRunTheseContracts(ao: AoClient, network: ProcessId, dir: string): Promise<void> {
  if (await runsTheseContracts(ao, network)) return
  throw new ApusError(
    'network-outdated',
    `The network in ${dir} runs other contracts than this version has; remove the folder to begin a new one.`,
  )
}

/** Gives every party its APUS, lists the models, registers every miner and stakes for it. */
async function fund(
  operator: NetworkClient,
  models: readonly LocalModel[],
  miners: readonly MinerParty[],
  requester: string,
): Promise<void> {
  await operator.batchTransfer([
    { recipient: requester, quantity: REQUESTER_FUNDS },
    ...miners.map(({ address }) => ({ recipient: address, quantity: STAKE })),
  ])
  await operator.deposit(LISTING_FUNDS)
  await Promise.all(
    miners.map(async ({ client, address, key }) => {
      await client.stake(STAKE)
      await register(client, { me: address, key }, Date.now())
    }),
  )
  for (const { header, path: _, context: __, ...model } of models) {
    const terms = { basePrice: String(BASE_PRICE), tokenPrice: String(TOKEN_PRICE), maxContext: MAX_CONTEXT }
    await retry(() => operator.listModel({ ...model, ...terms }, header))
  }
  for (const { address } of miners) {
    await retry(async () => {
      const miner = await operator.miner(address)
      if (BigInt(miner?.stake ?? 0) < STAKE) throw new Error(`the stake of ${address} has not arrived`)
    })
  }
}

const minerHome = (dir: string, name: string): string => join(dir, 'miners', name)

/** The node key in a program's home, made when missing. */
async function keyIn(home: string): Promise<NodeKey> {
  await mkdir(home, { recursive: true, mode: 0o700 })
  const path = join(home, 'node.key')
  const seed = randomBytes(NODE_KEY_BYTES).toString('base64url')
  await writeFile(path, seed, { flag: 'wx', mode: 0o600 }).catch(() => {})
  return nodeKey(new Uint8Array(Buffer.from(await readFile(path, 'utf8'), 'base64url')))
}

/** Money between processes arrives a moment later. */
async function retry(action: () => Promise<unknown>): Promise<void> {
  const deadline = Date.now() + MONEY_TIMEOUT_MS
  for (;;) {
    try {
      await action()
      return
    } catch (error) {
      if (Date.now() > deadline) throw error
      await sleep(POLL_MS)
    }
  }
}

async function writeCoordinatorConfig(
  home: string,
  file: NetworkFile,
  wallets: string,
  redis: string | undefined,
  port: number,
): Promise<void> {
  await writeFile(
    join(home, 'config.json'),
    JSON.stringify({
      network: file.network,
      token: file.token,
      ao: file.ao,
      redis,
      wallet: join(wallets, 'coordinator.json'),
      httpPort: 0,
      peers: { listen: [`/ip4/127.0.0.1/tcp/${port}`] },
      pollMs: COORDINATOR_POLL_MS,
    }),
  )
}

/** Writes a miner's home and returns what the miners' program is told of it. */
async function prepareMiner(
  dir: string,
  file: NetworkFile,
  wallets: string,
  { name, cheat, gpu = false }: MinerRole,
  models: { readonly bundle: LocalModel; readonly gguf?: LocalModel },
): Promise<string> {
  const home = minerHome(dir, name)
  await keyIn(home)
  await copyFile(join(wallets, `${name}.json`), join(home, 'wallet.json'))
  await writeFile(
    join(home, 'config.json'),
    JSON.stringify({
      network: file.network,
      token: file.token,
      ao: file.ao,
      gateway: file.gateway,
      models: [
        ...(models.gguf ? [{ path: models.gguf.path, engine: 'llama-cpp' }] : []),
        { path: models.bundle.path, engine: gpu ? 'webgpu' : 'cpu' },
      ],
      peers: { listen: ['/ip4/127.0.0.1/tcp/0'], bootstrap: file.bootstrap },
      statusPort: 0,
      stopGraceSeconds: 0,
    }),
  )
  return `${home}=${cheat ?? ''}`
}
