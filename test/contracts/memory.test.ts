import { promptTokensRoot } from '@apus/shared/machine'
import { NetworkMirror } from '@apus/shared/network'
import { expect, it } from 'vitest'
import { APUS, addressOf } from '../support/contracts.ts'
import {
  type Cast,
  commitAll,
  LIE,
  type Miner,
  revealAll,
  seated,
  setUp,
  submit,
  tick,
} from '../support/contracts-cast.ts'

const MINUTE = 60_000
const PROMPT = Buffer.from(Uint32Array.of(1, 2, 3).buffer).toString('base64')

/** A job of which one seat revealed another result than the others. */
async function held(cast: Cast): Promise<{ job: string; liar: Miner }> {
  const job = await submit(cast, { 'X-Prompt-Tokens': promptTokensRoot([1, 2, 3]), 'X-Reference': 'again' })
  await tick(cast)
  const [liar] = seated(cast, job) as [Miner]
  await liar.commit(job, LIE)
  await commitAll(cast, job)
  await liar.reveal(job, LIE)
  await revealAll(cast, job)
  return { job, liar }
}

it('a flood of disputes ends when the accused is convicted, sixteen at once and the rest one by one, whatever is overdue', async () => {
  const parameters = { retention: 30 * MINUTE, burnBatch: String(1_000n * APUS) }
  const cast = await setUp({ miners: 4, parameters })
  const { world, requester } = cast
  const { job, liar } = await held(cast)
  const flood = addressOf('flood')
  await world.send(requester, world.token, 'Transfer', { Recipient: flood, Quantity: String(4_000n * APUS) })
  await world.pay(flood, 4_000n * APUS, 'Deposit')
  const ids: string[] = []
  for (let i = 0; i < 40; i++) {
    const tags = { Job: job, Accused: liar.address, Position: '1' }
    const data = JSON.stringify({ prompt: { count: 1, leaf: PROMPT, path: '' } })
    const opened = await world.send(flood, world.network, 'Open-Dispute', tags, data)
    expect(opened.code).toBeUndefined()
    ids.push(opened.id)
  }
  const states = () => ids.map(id => world.dispute(id).state)
  world.now += 2 * MINUTE
  for (let i = 0; i < 5; i++) {
    world.now += 2 * MINUTE
    expect((await tick(cast)).error).toBeUndefined()
  }
  // All four that ran are overdue in one message: the first convicts, the others find nothing to decide.
  expect(states().filter(state => state === 'silent')).toHaveLength(1)
  for (let i = 0; i < 3; i++) expect((await tick(cast)).error).toBeUndefined()
  expect(states().filter(state => state === 'moot')).toHaveLength(39)
  const bond = BigInt(world.job(job).bond ?? '0')
  expect(world.account(flood)).toBe(4_000n * APUS + (bond * 3n) / 10n)
  expect(world.job(job).state).toBe('agreed')

  // What has ended is forgotten in its time: the job, its disputes and its answer, and its reference is free again.
  await world.pass(22 * MINUTE)
  expect(world.job(job).state).toBe('settled')
  const mirror = new NetworkMirror()
  const follow = () => {
    const published = Object.entries(world.published.network).map(([name, value]) => ({ name, value }))
    mirror.apply([{ Tags: [{ name: 'device', value: 'patch@1.0' }, ...published] }] as never)
  }
  follow()
  expect([mirror.jobs.size, mirror.disputes.size]).toEqual([1, 40])
  await world.pass(12 * MINUTE)
  expect(states().filter(state => state === 'moot')).toHaveLength(39)
  expect(world.entry('answers', job)).toContain('The answer')
  await world.pass(22 * MINUTE)
  expect(ids.map(id => world.entry('disputes', id))).toEqual(Array(40).fill(''))
  expect([world.entry('jobs', job), world.entry('answers', job)]).toEqual(['', ''])
  follow()
  expect([mirror.jobs.size, mirror.disputes.size]).toEqual([0, 0])
  const asked = await world.send(requester, world.network, 'Job', { Job: job })
  expect(asked.code).toBe('not-found')
  const late = { Job: job, Accused: liar.address, Position: '1' }
  expect((await world.send(flood, world.network, 'Open-Dispute', late, '{}')).code).toBe('unknown-job')
  await submit(cast, { 'X-Reference': 'again' })
})

it('a miner that has left with all its stake is no longer published', async () => {
  const cast = await setUp({ miners: 1 })
  const [miner] = cast.miners as [Miner]
  await miner.act('Unstake', { Quantity: String(5_000n * APUS) })
  await miner.act('Unregister')
  await cast.world.pass(31 * MINUTE)
  expect(cast.world.account(miner.address)).toBe(5_000n * APUS)
  expect(cast.world.entry('miners', miner.address)).toBe('')
})
