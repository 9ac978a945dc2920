#!/usr/bin/env node
import { randomBytes } from 'node:crypto'
import { dirname, resolve } from 'node:path'
import { connectAo } from '@apus/shared/ao'
import { createWallet, loadWallet, saveWallet, type Wallet } from '@apus/shared/arweave'
import {
  createLogger,
  describeError,
  errorCode,
  type Logger,
  readConfigFile,
  readKeyFile,
  Secret,
  writeKeyFile,
} from '@apus/shared/kit'
import { NODE_KEY_BYTES, type NodeKey, nodeKey } from '@apus/shared/p2p'
import { Command } from 'commander'
import { createBullmqBoard } from './adapters/bullmq-board.ts'
import { createMemoryBoard } from './adapters/memory-board.ts'
import { type Settings, settingsSchema } from './config.ts'
import { createCoordinator, type JobBoard } from './coordinator.ts'

const program = new Command('apus-coordinator').description(
  'Watches a network, brings tasks to miners and keeps time. It holds no funds and decides nothing.',
)

program
  .command('start')
  .description(
    'runs until it is told to stop; the first line of its output is JSON and says where it listens',
  )
  .requiredOption('--config <file>', 'settings in JSON')
  .action(async ({ config }: { config: string }) => start(resolve(config)))

await program.parseAsync().catch((error: unknown) => {
  console.error(describeError(error))
  process.exitCode = 1
})

async function start(file: string): Promise<void> {
  const settings = await readConfigFile(settingsSchema, file)
  const folder = dirname(file)
  const wallet = await openWallet(resolve(folder, settings.wallet))
  const key = await openKey(resolve(folder, settings.key))
  const log = createLogger({ name: 'coordinator', level: settings.log })
  const { announce, ...peers } = settings.peers
  const coordinator = createCoordinator(
    { ...settings, peers: { ...peers, ...(announce === undefined ? {} : { announce }) } },
    {
      ao: connectAo(settings.ao, wallet),
      key,
      board: openBoard(settings, log),
      log,
    },
  )
  const ready = await coordinator.start()
  // Before it says that it is ready: whoever reads that may stop it at once.
  const signalled = new Promise<void>(resolve => {
    process.once('SIGINT', () => resolve())
    process.once('SIGTERM', () => resolve())
  })
  console.log(JSON.stringify({ ...ready, pid: process.pid }))
  await signalled
  await coordinator.stop()
}

function openBoard({ redis, network }: Pick<Settings, 'redis' | 'network'>, log: Logger): JobBoard {
  if (redis !== undefined) return createBullmqBoard({ redis: new Secret(redis), name: network, log })
  log.warn(
    'No Redis is set: tasks are kept in memory, so those in hand are forgotten when this coordinator stops and are posted again from AO; several coordinators do not share them.',
  )
  return createMemoryBoard(log)
}

async function openWallet(path: string): Promise<Wallet> {
  try {
    return await loadWallet(path)
  } catch (error) {
    if (errorCode(error) !== 'wallet-missing') throw error
  }
  const wallet = await createWallet()
  await saveWallet(wallet, path)
  return wallet
}

async function openKey(path: string): Promise<NodeKey> {
  const kept = await readKeyFile(path)
  if (kept !== undefined) return nodeKey(kept)
  const seed = randomBytes(NODE_KEY_BYTES)
  await writeKeyFile(path, seed)
  return nodeKey(seed)
}
