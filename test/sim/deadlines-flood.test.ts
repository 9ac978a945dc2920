import { afterEach, beforeEach, expect, it, vi } from 'vitest'
import { BalanceSheet, told } from '../support/balance-sheet.ts'
import { World } from '../support/contracts.ts'
import { JOB_TAGS, MAX_TOKENS, MODEL, PRICE, seated, setUp, tick, WAGE } from '../support/contracts-cast.ts'

const FLOOD = 10_000
const MOVES_PER_MESSAGE = 16
const MINUTE = 60_000
const UNSTAKE_DELAY = 30 * MINUTE
const JOBS = 64

const START = 'state.network = ao.id'
/** The contract with one action more, which asks for stake back as often as ten thousand messages would. */
const FLOOD_ACTION = `
actions.changing.Flood = function(input)
  local miners, one = require('apus.registry.miners'), require('apus.codec.amount').of(1)
  for _ = 1, tonumber(input.tags.Count) do miners.unstake(miners.registered(input.from), one) end
end
`

beforeEach(() => {
  const load = World.prototype.load
  vi.spyOn(World.prototype, 'load').mockImplementation(function (this: World, id, source) {
    return load.call(
      this,
      id,
      source.replace(START, () => FLOOD_ACTION + START),
    )
  })
})
afterEach(() => {
  vi.restoreAllMocks()
})

it('ten thousand deadlines due in one message are worked off sixteen a message, and jobs go on', async ({
  annotate,
}) => {
  const cast = await setUp({ miners: 4 })
  const { world } = cast
  const [hostile, ...others] = cast.miners
  const flooder = hostile!.address
  const honest = others.map(m => m.address)
  await world.pay(cast.requester, PRICE, 'Deposit')
  const sheet = new BalanceSheet(world, { hostile: [flooder], honest, customers: [cast.requester] })
  const due = () => Number(world.miner(flooder).unstaking)
  await hostile!.act('Flood', { Count: String(FLOOD) })
  await hostile!.act('Pause')
  await world.pass(UNSTAKE_DELAY - MINUTE)
  expect(due()).toBe(FLOOD)
  world.now += 2 * MINUTE
  world.slowestMs = 0

  // Every message to the network does its share of what is due and then its own part, whatever else is due.
  let before = due()
  const share = async (send: () => Promise<{ readonly code?: string | undefined }>) => {
    expect((await send()).code).toBeUndefined()
    before -= MOVES_PER_MESSAGE
    expect(due()).toBe(before)
  }
  const direct = { 'X-Model': MODEL, 'X-Max-Tokens': String(MAX_TOKENS), 'X-Redundancy': '3' }
  let job = ''
  await share(async () => {
    const sent = await world.send(cast.requester, world.network, 'Submit-Job', direct, 'hi')
    job = sent.id
    return sent
  })
  await share(() => tick(cast))
  for (const seat of seated(cast, job)) await share(() => seat.commit(job))
  await share(() => tick(cast))
  for (const seat of seated(cast, job, ['committed'])) await share(() => seat.reveal(job))
  expect(world.job(job).state).toBe('agreed')
  const slowest = world.slowestMs
  while (due() > 0) await world.send(flooder, world.network, 'Tick', { Limit: String(MOVES_PER_MESSAGE) })
  await world.pass(21 * MINUTE)
  const figures = sheet.close()
  expect(figures.hostile).toBe(0n)
  for (const who of honest) expect(sheet.gain(who)).toBe(WAGE)
  await annotate(`${slowest.toFixed(1)} ms the slowest of the messages that found them due; ${told(figures)}`)
})

it('jobs that all expire in one message give their money back, sixteen a message', async ({ annotate }) => {
  const cast = await setUp({ miners: 1 })
  const { world } = cast
  await world.pay(cast.requester, PRICE * BigInt(JOBS), 'Deposit')
  const sheet = new BalanceSheet(world, { hostile: [], honest: [], customers: [cast.requester] })
  const jobs: string[] = []
  for (let i = 0; i < JOBS; i++) {
    const sent = await world.send(cast.requester, world.network, 'Submit-Job', JOB_TAGS, 'hi')
    jobs.push(sent.id)
  }
  await tick(cast)
  for (let i = 0; i < 4; i++) {
    world.now += 2 * MINUTE
    await tick(cast)
  }
  world.now += 2 * MINUTE - 10_000
  await tick(cast)
  const expired = () => jobs.filter(id => world.job(id).state === 'expired').length
  expect(expired()).toBe(0)
  world.now += MINUTE
  world.slowestMs = 0
  // Deadlines that no longer apply are looked at too, at most 64 a message: it may take one message more.
  const messages = world.evaluations
  for (let before = 0; before < JOBS; before = expired()) {
    const sent = await tick(cast)
    expect(expired() - before).toBeLessThanOrEqual(MOVES_PER_MESSAGE)
    expect(sent.error).toBeUndefined()
  }
  expect(world.evaluations - messages).toBeLessThanOrEqual(JOBS / MOVES_PER_MESSAGE + 1)
  await annotate(`${world.slowestMs.toFixed(1)} ms the slowest; ${told(sheet.close())}`)
})
