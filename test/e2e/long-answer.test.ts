import { execFile } from 'node:child_process'
import { join } from 'node:path'
import { promisify } from 'node:util'
import { saveWallet } from '@apus/shared/arweave'
import { fetchLongAnswer, networkFileSchema, writeNetworkFile } from '@apus/shared/network'
import { afterAll, beforeAll, expect, it } from 'vitest'
import { noOpModel } from '../support/no-op-model.ts'
import { MODEL, type SmallNetwork, startSmallNetwork } from '../support/small-network.ts'

const APUS = join(import.meta.dirname, '../../shared/bin/apus.ts')
const WORDS = Array.from({ length: 200 }, (_, n) => ` ${String(n).padStart(3, '0')}`.padEnd(240, '.'))
const PATIENCE_MS = 60_000

let net: SmallNetwork
const run = promisify(execFile)

beforeAll(async () => {
  net = await startSmallNetwork({
    name: 'long-answer',
    miners: 3,
    parameters: { commitWindow: 20_000, revealWindow: 20_000, disputeWindow: 1_000, redundancy: 2 },
  })
})
afterAll(async () => {
  await net?.close()
})

const infer = (network: string) =>
  run(process.execPath, [
    APUS,
    ...['--network', network, '--wallet', join(net.dir, 'wallet.json'), '--json'],
    ...['infer', 'Count.', '--max-tokens', '300'],
  ])

it(
  'apus infer has an answer that is too large for AO from its miners, and says why where it cannot',
  async () => {
    const [first, ...others] = net.miners
    const { host } = await net.startMiner(first!, [], noOpModel(MODEL, WORDS))
    for (const miner of others) await net.startMiner(miner, host.addresses(), noOpModel(MODEL, WORDS))
    await saveWallet(net.requester.wallet, join(net.dir, 'wallet.json'))
    const file = join(net.dir, 'network.json')
    const { network, token, ao } = net
    const known = networkFileSchema.parse({ network, token, ao, defaultModel: MODEL })
    await writeNetworkFile(file, { ...known, bootstrap: host.addresses() })
    // Rounds go on at once, without the patience that miners have for a coordinator.
    const ticks = setInterval(() => void first?.client.tick().catch(() => {}), 500)
    const { stdout } = await infer(file).finally(() => clearInterval(ticks))
    const { answer, job } = JSON.parse(stdout)
    expect(answer).toBe(WORDS.join('').slice(1))
    expect(job.redundancy).toBe(2)
    await expect(fetchLongAnswer(net.requester.client, job, [])).rejects.toMatchObject({
      code: 'answer-unavailable',
      message: expect.stringContaining('names no peer'),
    })
  },
  PATIENCE_MS,
)
