import { readFile, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import type { NetworkFeed } from '@apus/shared/network'
import { ENDED, type JobId } from '@apus/shared/protocol'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { Child } from '../../deploy/localnet/child.ts'
import { noOpModel } from '../support/no-op-model.ts'
import { MODEL, type SmallNetwork, startSmallNetwork, until } from '../support/small-network.ts'

const PROGRAM = join(import.meta.dirname, '../../coordinator/src/main.ts')
const WINDOWS = {
  commitWindow: 60_000,
  revealWindow: 30_000,
  disputeWindow: 1_000,
  drawTimeout: 30_000,
  drawRetry: 2_000,
}
/** Less than a lease: nothing that the board waits for keeps the program alive. */
const STOP_MS = 5_000

let net: SmallNetwork
let feed: NetworkFeed
let program: Child

beforeAll(async () => {
  net = await startSmallNetwork({ name: 'memory', miners: 3, parameters: WINDOWS })
  feed = await net.follow(100)
  const config = join(net.dir, 'coordinator.json')
  const { network, token, ao } = net
  const peers = { listen: ['/ip4/127.0.0.1/tcp/0'] }
  await writeFile(config, JSON.stringify({ network, token, ao, httpPort: 0, pollMs: 200, peers }))
  program = await Child.start({
    name: 'coordinator',
    script: PROGRAM,
    args: ['start', '--config', config],
    logFile: join(net.dir, 'coordinator.log'),
  })
})
afterAll(async () => {
  await program?.stop()
  await net?.close()
})

const board = async () => {
  const answer = await fetch(`${program.ready.url}/health`)
  const { board } = (await answer.json()) as {
    board: { ok: boolean; store: string; tasks?: Record<'waiting' | 'handing' | 'leased', number> }
  }
  return board
}

test('a coordinator without Redis says what a stop loses, and posts its tasks again after a stop', async () => {
  await until(async () => (await board()).ok)
  expect(await board()).toMatchObject({ store: 'memory', tasks: { waiting: 0, handing: 0, leased: 0 } })
  expect(await readFile(join(net.dir, 'coordinator.log'), 'utf8')).toMatch(/tasks are kept in memory/)

  // Nobody serves yet, so the tasks of all seats go under leases.
  const id: JobId = await net.requester.client.submitJob({
    model: MODEL,
    prompt: 'Say nothing.',
    maxTokens: 16,
    redundancy: 2,
  })
  const held = () => until(async () => ((await board()).tasks?.leased ?? 0) === 2)
  await held()
  const stopping = Date.now()
  await program.stop()
  expect(Date.now() - stopping).toBeLessThan(STOP_MS)
  await program.restart()
  await held()

  for (const miner of net.miners)
    await net.startMiner(miner, program.ready.addresses as string[], noOpModel(MODEL))
  await until(() => ENDED.includes(feed.mirror.jobs.get(id)?.state ?? 'submitted'))
  expect(feed.mirror.jobs.get(id)).toMatchObject({ state: 'settled', agreed: { seats: 3 } })
  await until(async () => Object.values((await board()).tasks ?? {}).every(count => count === 0))
  expect(await net.conserved()).toBe(true)
})
