import { type JobId, type JobView, provingBundle } from '@apus/shared'
import { afterEach, expect, it } from 'vitest'
import { wrongBit } from '../../deploy/localnet/wrong-bit.ts'
import type { LoadedModel } from '../../node/src/engine/engine.ts'
import { oracleModel } from '../../node/src/engine/machine/oracle-model.ts'
import { LISTED_BUNDLE } from '../support/listed-bundle.ts'
import { MODEL, type SmallNetwork, startSmallNetwork, until } from '../support/small-network.ts'

const MINUTES = 60_000
/** Time enough for every answer, little enough to wait for a silent side. */
const CLOCKS = { disputeWindow: 10 * MINUTES, disputeClock: 30_000, disputeIncrement: 10_000 }
let net: SmallNetwork | undefined

afterEach(async () => {
  await net?.close()
  net = undefined
})

const honest = (): LoadedModel =>
  oracleModel(provingBundle(MODEL, LISTED_BUNDLE.leaves), {
    info: { id: MODEL, name: 'listed', context: 4096, vocabulary: 70 },
    tokenize: prompt => [...Buffer.from(prompt)].map(byte => byte % 70),
  })

async function startThree(liar: LoadedModel) {
  const network = await startSmallNetwork({ name: 'dispute', miners: 3, parameters: CLOCKS })
  net = network
  const [first, second, third] = network.miners
  const one = await network.startMiner(first!, [], honest())
  const bootstrap = one.host.addresses()
  await network.startMiner(second!, bootstrap, honest())
  const cheat = await network.startMiner(third!, bootstrap, liar)
  const submit = () =>
    network.requester.client.submitJob({ model: MODEL, prompt: 'Who lies?', maxTokens: 6, redundancy: 3 })
  return { network, cheat, submit, liar: third!.address }
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

it('a miner with one wrong bit is challenged, proven wrong and slashed, and the honest are paid', async () => {
  const { network, submit, liar } = await startThree(wrongBit(honest()))
  const id = await submit()
  await untilSlashed(network, id, liar)
  const feed = await network.follow(200)
  const won = [...feed.mirror.disputes.values()].filter(d => d.state === 'proven')
  expect(won).toMatchObject([{ job: id, accused: liar }])
  // The liar accuses the honest too, and cannot prove what is right: its time runs out.
  await until(async () => (await network.requester.client.job(id))?.agreed !== undefined, 3 * MINUTES)
  const lost = [...feed.mirror.disputes.values()].filter(d => d.challenger === liar)
  expect(lost.map(d => d.accused).toSorted()).toEqual(
    network.miners
      .slice(0, 2)
      .map(m => m.address)
      .toSorted(),
  )
  for (const { state } of lost) expect(['abandoned', 'refuted']).toContain(state)
  const job = await network.requester.client.job(id)
  expectHonestWhole(job, liar)
  expect(job?.agreed?.seats).toBe(2)
  expect(await network.conserved()).toBe(true)
})

it('a liar that answers nothing loses by the clock', async () => {
  const lying = wrongBit(honest())
  const mute: LoadedModel = { ...lying, retrace: () => Promise.reject(new Error('says nothing')) }
  const { network, submit, liar } = await startThree(mute)
  const id = await submit()
  await untilSlashed(network, id, liar)
  const feed = await network.follow(200)
  const about = [...feed.mirror.disputes.values()].filter(d => d.accused === liar)
  expect(about.filter(d => d.state === 'silent')).toHaveLength(1)
  expectHonestWhole(await network.requester.client.job(id), liar)
  expect(await network.conserved()).toBe(true)
})
