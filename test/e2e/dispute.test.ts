import { execFile } from 'node:child_process'
import { randomBytes } from 'node:crypto'
import { readFile, rm, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { promisify } from 'node:util'
import type { AoConfig } from '@apus/shared/ao'
import { openingMove } from '@apus/shared/dispute'
import { NetworkFeed } from '@apus/shared/network'
import { nodeKey } from '@apus/shared/p2p'
import { commitmentOf, type Digest, type JobId, type JobView, signCommitment } from '@apus/shared/protocol'
import { provingBundle } from '@apus/shared/replay'
import { expect, type TestContext, test } from 'vitest'
import { oracleModel } from '../../deploy/localnet/miners/oracle-model.ts'
import { wrongBit } from '../../deploy/localnet/miners/wrong-bit.ts'
import type { LoadedModel } from '../../node/src/engine/engine.ts'
import { register } from '../../node/src/work/registration.ts'
import { equivocationMessage } from '../../shared/src/dispute/equivocation.ts'
import { LISTED_BUNDLE } from '../support/listed-bundle.ts'
import { MODEL, type SmallNetwork, startSmallNetwork, until } from '../support/small-network.ts'

// Every test has a network of its own and waits most of the time for the clocks of disputes, so all run at once.

const MINUTES = 60_000
const APUS = join(import.meta.dirname, '../../shared/bin/apus.ts')
const apus = (...args: string[]) => promisify(execFile)(process.execPath, [APUS, ...args])
/** Time enough for every answer, little enough to wait for a silent side. */
const CLOCKS = { disputeWindow: 10 * MINUTES, disputeClock: 30_000, disputeIncrement: 10_000 }
/** Of a watcher, for the bonds of its disputes, in units. */
const PURSE = 50n * 10n ** 12n

const honest = (): LoadedModel =>
  oracleModel(provingBundle(MODEL, LISTED_BUNDLE.leaves), {
    info: { id: MODEL, name: 'listed', context: 4096, vocabulary: 70 },
    tokenize: prompt => [...Buffer.from(prompt)].map(byte => byte % 70),
  })

async function startNetwork({ onTestFinished }: TestContext): Promise<SmallNetwork> {
  const network = await startSmallNetwork({ name: 'dispute', miners: 3, parameters: CLOCKS })
  onTestFinished(network.close)
  return network
}

async function startThree(context: TestContext, liar: LoadedModel) {
  const network = await startNetwork(context)
  const [first, second, third] = network.miners
  const one = await network.startMiner(first!, [], honest())
  const bootstrap = one.host.addresses()
  const two = await network.startMiner(second!, bootstrap, honest())
  await network.startMiner(third!, bootstrap, liar)
  const submit = () =>
    network.requester.client.submitJob({ model: MODEL, prompt: 'Who lies?', maxTokens: 6, redundancy: 3 })
  return { network, submit, liar: third!.address, bootstrap, two }
}

const seatOf = async (network: SmallNetwork, id: JobId, miner: string) =>
  (await network.requester.client.job(id))?.seats.find(seat => seat.miner === miner)

/** Disputes are among what every party has published; messages keep coming. */
const untilSlashed = (network: SmallNetwork, id: JobId, miner: string) =>
  until(async () => (await seatOf(network, id, miner))?.slashed !== undefined, 4 * MINUTES)

const expectHonestWhole = (job: JobView | undefined, liar: string) => {
  for (const seat of job?.seats ?? []) {
    if (seat.miner === liar) continue
    expect(seat.slashed).toBeUndefined()
  }
}

test.concurrent('a miner with one wrong bit is challenged, proven wrong and slashed, and the honest are paid', async context => {
  const { network, submit, liar } = await startThree(context, wrongBit(honest()))
  const id = await submit()
  await untilSlashed(network, id, liar)
  const feed = new NetworkFeed(network.requester.ao, {
    network: network.network,
    pollMs: 200,
    history: true,
    onError: () => {},
  })
  await feed.start()
  const won = [...feed.mirror.disputes.values()].filter(d => d.state === 'proven')
  expect(won).toMatchObject([{ job: id, accused: liar }])
  // The liar accuses the honest too, and cannot prove what is right: its time runs out.
  await until(async () => (await network.requester.client.job(id))?.agreed !== undefined, 3 * MINUTES)
  const ofLiar = () => [...feed.mirror.disputes.values()].filter(d => d.challenger === liar)
  await until(() => ofLiar().every(d => d.state === 'abandoned' || d.state === 'refuted'))
  const job = await network.requester.client.job(id)
  expectHonestWhole(job, liar)
  expect(job?.agreed?.seats).toBe(2)
  expect(await network.conserved()).toBe(true)

  await feed.stop()
  const file = join(network.dir, 'network.json')
  const { token, ao } = network
  const gateway = network.units.urls.base
  const at = { token, network: network.network, gateway }
  const out = join(network.dir, 'proof.json')
  const { suUrl: _, ...unscheduled } = ao as AoConfig & { suUrl?: string }
  await writeFile(file, JSON.stringify({ ...at, ao: unscheduled }))
  await expect(apus('--network', file, 'prove', id, '--out', out)).rejects.toMatchObject({
    code: 1,
    stderr: expect.stringContaining('unsigned'),
  })
  const bare = await apus('--network', file, 'prove', id, '--out', out, '--unsigned')
  expect(bare.stdout).toContain('without its signatures')
  expect((await apus('verify', out)).stdout).toContain('and answered so is on trust.')
  await writeFile(file, JSON.stringify({ ...at, ao }))
  expect((await apus('--network', file, 'prove', id, '--out', out)).stdout).toContain(`step against ${liar}`)

  // From here on nobody is asked.
  const story = await apus('--network', 'none', 'verify', out)
  expect(story.stdout).toContain(`Miner ${liar} committed to the result`)
  expect(story.stdout).toContain('in layer 1, operation qkv.0, chunk 0')
  expect(story.stdout).toContain('The miner is at fault.')
  expect(story.stdout).toContain("The miner's wallet signed its commitment, its reveal and its answers.")
  const text = await readFile(out, 'utf8')
  await writeFile(out, text.replace(/"count": \d+,\n(\s*)"finish"/, '"count": 99,\n$1"finish"'))
  await expect(apus('verify', out)).rejects.toMatchObject({
    code: 1,
    stderr: expect.stringContaining('wrong-result-root'),
  })

  // Another miner's key, it turns out, has signed another result than the miner revealed.
  const { miner, salt = '', resultRoot } = job!.seats.find(seat => seat.miner !== liar)!
  const { key } = network.miners.find(({ address }) => address === miner)!
  const root = id
  const commitment = commitmentOf(network.network, id, miner, salt, root) as Digest
  const says = { network: network.network, job: id, miner, commitment, peer: key.peer }
  const said = [{ signed: signCommitment(says, key.sign), salt, root }]
  await network.requester.client.dispute(equivocationMessage(id, miner, said))
  expect((await seatOf(network, id, miner))?.slashed).toBeDefined()
  const proved = await apus('--network', file, 'prove', id, '--accused', miner, '--out', out)
  expect(proved.stdout).toContain(`equivocation against ${miner} in job ${id}\n`)
  const { stdout } = await apus('--network', 'none', 'verify', out)
  expect(stdout).toContain(`the node signed  ${root}\n  the miner said   ${resultRoot}`)
  expect(stdout).toContain("The miner's wallet signed that this is its node, its commitment and its reveal.")
})

test.concurrent('a liar that answers nothing loses by the clock', async context => {
  const lying = wrongBit(honest())
  const mute: LoadedModel = { ...lying, replay: () => Promise.reject(new Error('says nothing')) }
  const { network, submit, liar } = await startThree(context, mute)
  const id = await submit()
  await untilSlashed(network, id, liar)
  const feed = await network.follow(200)
  const about = [...feed.mirror.disputes.values()].filter(d => d.accused === liar)
  expect(about.filter(d => d.state === 'silent')).toHaveLength(1)
  expectHonestWhole(await network.requester.client.job(id), liar)
  expect(await network.conserved()).toBe(true)
})

test.concurrent('an honest miner that lost its disk answers a false accusation, which loses its bond', async context => {
  const { network, submit, bootstrap, two } = await startThree(context, honest())
  const id = await submit()
  await until(async () => (await network.requester.client.job(id))?.agreed !== undefined)
  const [, second] = network.miners
  const job = await network.requester.client.job(id)
  const seat = job!.seats.find(s => s.miner === second!.address)!
  const lying = wrongBit(honest())
  const request = { promptTokens: lying.tokenize('Who lies?', 'text'), jobKey: id }
  const { sampler, maxTokens, stop } = job!
  const run = await lying.replay!({ ...request, sampler, maxTokens, stop }, new AbortController().signal)
  const claim = { job: id, accused: seat.miner, result: seat.statement!, leaves: undefined }
  await two.stop()
  await rm(join(network.dir, second!.address), { recursive: true })
  const before = await network.requester.client.account(network.requester.address)
  const dispute = await network.requester.client.dispute(openingMove(run, claim)!)
  await network.startMiner(second!, bootstrap, honest())
  const feed = await network.follow(200)
  await until(() => feed.mirror.disputes.get(dispute)?.state === 'abandoned', 3 * MINUTES)
  expect(feed.mirror.disputes.get(dispute)?.turn).not.toBe('accused')
  expect(await network.requester.client.account(network.requester.address)).toBeLessThan(before)
  expectHonestWhole(await network.requester.client.job(id), '')
  expect(await network.conserved()).toBe(true)
})

test.concurrent('all seats agree on a lie, and a watcher without a seat convicts every one of them', async context => {
  const network = await startNetwork(context)
  const { requester, miners } = network
  const watcher = { ...(await network.party('watcher')), key: nodeKey(new Uint8Array(randomBytes(32))) }
  await requester.client.transfer(watcher.address, PURSE)
  await watcher.client.deposit(PURSE)
  await until(async () => (await watcher.client.account(watcher.address)) === PURSE)
  // Without a stake it is drawn for no seat.
  await register(watcher.client, { me: watcher.address, key: watcher.key }, Date.now())
  const watching = await network.startMiner(watcher, [], honest(), { watch: true })
  for (const miner of miners) await network.startMiner(miner, watching.host.addresses(), wrongBit(honest()))

  const request = { model: MODEL, prompt: 'Who watches?', maxTokens: 6, redundancy: 2 }
  const id = await requester.client.submitJob(request)
  await until(async () => (await requester.client.job(id))?.state === 'refunded', 4 * MINUTES)
  const job = await requester.client.job(id)
  expect(job?.code).toBe('all-convicted')
  expect(job?.seats).toHaveLength(3)
  for (const seat of job?.seats ?? []) expect(BigInt(seat.slashed ?? 0)).toBeGreaterThan(0n)
  expect(await watcher.client.account(watcher.address)).toBeGreaterThan(PURSE)
  expect(await network.conserved()).toBe(true)
})
