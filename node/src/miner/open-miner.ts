import { resolve } from 'node:path'
import { type AoClient, connectAo } from '@apus/shared/ao'
import { GatewayClient, type Wallet } from '@apus/shared/arweave'
import type { Logger } from '@apus/shared/kit'
import { NetworkClient, NetworkFeed } from '@apus/shared/network'
import type { Address } from '@apus/shared/protocol'
import { type Home, readNodeKey, readWallet } from '../home/home.ts'
import type { Settings } from '../home/settings.ts'
import { type Engines, loadModels } from './engines.ts'
import { createMiner, type Miner, type MinerParts } from './miner.ts'

/** Pause between looks for news; a seat waits this long at most when no coordinator tells of it. */
const POLL_MS = 1_000

export interface Account {
  readonly wallet: Wallet
  readonly me: Address
  readonly ao: AoClient
  readonly network: NetworkClient
}

/** The home's wallet and its view of the network. Errors: `wallet-missing`, `wallet-invalid`. */
export async function openAccount(home: Home, settings: Settings): Promise<Account> {
  const wallet = await readWallet(home, settings)
  const ao = connectAo(settings.ao, wallet)
  return { wallet, me: wallet.address as Address, ao, network: new NetworkClient(ao, settings) }
}

/**
 * The miner of a home, running. `change` may replace parts before it starts. Errors: those of the home, the engines and
 * `createMiner`.
 */
export async function openMiner(
  home: Home,
  settings: Settings,
  log: Logger,
  engines: Engines,
  change: (parts: MinerParts) => MinerParts = parts => parts,
): Promise<Miner> {
  const { me, ao, network } = await openAccount(home, settings)
  const key = await readNodeKey(home)
  const loaded = await loadModels(settings.models, path => resolve(home.path, path), engines)
  const onError = (err: unknown) => log.warn({ err }, 'AO could not be read; trying again.')
  const feed = new NetworkFeed(ao, { network: network.network, pollMs: POLL_MS, onError })
  const { gateway } = settings
  const arweave = gateway === undefined ? undefined : new GatewayClient({ url: gateway })
  const prompts = arweave
    ? {
        arweave: (id: string, limit: number, signal: AbortSignal) => arweave.read(id, { limit, signal }),
      }
    : {}
  try {
    const miner = await createMiner(
      {
        journal: home.journal,
        answers: home.answers,
        leaves: home.leaves,
        peers: settings.peers,
        runsPerModel: settings.runsPerModel,
        watch: settings.watch,
        statusPort: settings.statusPort ?? undefined,
      },
      change({ me, key, network, feed, models: loaded.models, prompts, log }),
    )
    return {
      ...miner,
      stop: async graceMs => {
        await miner.stop(graceMs)
        await loaded.close()
      },
    }
  } catch (error) {
    await loaded.close()
    throw error
  }
}
