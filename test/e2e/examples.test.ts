import { execFile } from 'node:child_process'
import { join } from 'node:path'
import { aoConfigSchema } from '@apus/shared/ao'
import { saveWallet } from '@apus/shared/arweave'
import { writeNetworkFile } from '@apus/shared/network'
import { formatApus, type JobId, type ModelId } from '@apus/shared/protocol'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { type AoMode, aoConfig } from '../support/ao-units.ts'
import type { CliResult } from '../support/miner-process.ts'
import { MODEL, type SmallNetwork, startSmallNetwork } from '../support/small-network.ts'

const EXAMPLES = join(import.meta.dirname, '../../shared/examples')
const MINERS = 3
/** A coordinator would see to it that messages keep coming: draws and deadlines happen only when one does. */
const TICK_MS = 500

const PURSE = 100n * 10n ** 12n
const UNLISTED = 'A'.repeat(43) as ModelId

let net: SmallNetwork
let ticking: NodeJS.Timeout

type Owner = 'payer' | 'beggar'

const networkFile = (name: string) => join(net.dir, `${name}.json`)
const walletFile = (owner: Owner) => join(net.dir, `wallet-${owner}.json`)

beforeAll(async () => {
  net = await startSmallNetwork({ name: 'examples', miners: MINERS })
  const { network, token, units } = net
  const describeNetwork = (name: string, mode: AoMode, defaultModel: ModelId) =>
    writeNetworkFile(networkFile(name), {
      network,
      token,
      ao: aoConfigSchema.parse(aoConfig(mode, units)),
      bootstrap: [],
      defaultModel,
    })
  await describeNetwork('legacy', 'legacy', MODEL)
  await describeNetwork('mainnet', 'mainnet', MODEL)
  await describeNetwork('other-model', 'legacy', UNLISTED)
  for (const owner of ['payer', 'beggar'] as const)
    await saveWallet((await net.party(owner)).wallet, walletFile(owner))
  await net.requester.client.transfer((await net.party('payer')).address, PURSE)
  for (const miner of net.miners) await net.startMiner(miner, [])
  ticking = setInterval(() => net.requester.client.tick().catch(() => {}), TICK_MS)
})

afterAll(async () => {
  clearInterval(ticking)
  await net?.close()
})

/** Runs an example as a stranger would: the question as an argument, the files by the environment. */
const run = (example: string, question: string, network: string, owner: Owner): Promise<CliResult> =>
  new Promise(resolve => {
    const env = { ...process.env, APUS_NETWORK: networkFile(network), APUS_WALLET: walletFile(owner) }
    execFile(process.execPath, [join(EXAMPLES, example), question], { env }, (error, stdout, stderr) =>
      resolve({ code: error === null ? 0 : Number(error.code ?? 1), stdout, stderr }),
    )
  })

describe.each(['ask.ts', 'ask-with-aoconnect.mjs'])('%s', example => {
  it.each(['legacy', 'mainnet'] as const)('prints what the network agreed on, in %s mode', async mode => {
    const question = `What is a river in ${mode}?`
    const { code, stdout, stderr } = await run(example, question, mode, 'payer')
    expect([code, stderr]).toEqual([0, ''])
    const [answer, counted, named] = stdout.trimEnd().split('\n')
    const id = named?.replace('job ', '') as JobId
    const { client } = net.requester
    const [job, agreed] = [await client.job(id), await client.answer(id)]
    expect(await client.prompt(id)).toBe(question)
    expect(job?.seats).toHaveLength(MINERS)
    expect(answer).toBe(agreed?.text)
    const paid = job?.seats.reduce((units, seat) => units + BigInt(seat.paid ?? 0), 0n) ?? 0n
    expect(paid).toBeGreaterThan(0n)
    expect(counted).toBe(
      `${job?.agreed?.seats} of ${job?.seats.length} seats agree; ${formatApus(paid)} APUS paid.`,
    )
  })

  it('says with a code that a purse is empty, and fails', async () => {
    const { code, stdout, stderr } = await run(example, 'What is a river?', 'legacy', 'beggar')
    expect([code, stdout]).toEqual([1, ''])
    expect(stderr).toMatch(/^insufficient-balance: \S.*\n/)
  })

  it('says with a code why the network took no job, and fails', async () => {
    const { code, stdout, stderr } = await run(example, 'What is a river?', 'other-model', 'payer')
    expect([code, stdout]).toEqual([1, ''])
    expect(stderr).toMatch(/^unknown-model: \S.*\n$/)
  })
})
