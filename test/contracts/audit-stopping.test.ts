import { describe, expect, it } from 'vitest'
import { APUS, addressOf, digestOf } from '../support/contracts.ts'
import {
  type Cast,
  HONEST,
  type Miner,
  PRICE,
  resultOf,
  revealAll,
  seated,
  setUp,
  submit,
  tick,
} from '../support/contracts-cast.ts'
import { loadInAos } from '../support/lua-modules.ts'

const MINUTE = 60_000
const LLAMA = 'llama.cpp/b1'

/** Takes all stake out and ends the registration: the network forgets the miner as soon as nothing holds it. */
async function leave(cast: Cast, miner: Miner): Promise<void> {
  const { stake } = cast.world.miner(miner.address)
  expect((await miner.act('Unstake', { Quantity: stake })).code).toBeUndefined()
  expect((await miner.act('Unregister')).code).toBeUndefined()
}

describe('a miner that leaves with a seat in a job (C1)', () => {
  const leaving = () =>
    // The way out of stake is shorter than the time to commit, as on a network for play.
    setUp({ miners: 5, class: LLAMA, parameters: { unstakeDelay: MINUTE, commitWindow: 10 * MINUTE } })

  it('is remembered until the job ends, and its missed seat stops nobody', async () => {
    const cast = await leaving()
    const job = await submit(cast)
    await tick(cast)
    const [gone, ...others] = seated(cast, job)
    for (const other of others) await other.commit(job)
    await leave(cast, gone!)
    await cast.world.pass(2 * MINUTE)
    expect(cast.world.entry('miners', gone!.address)).not.toBe('')
    // Every seat that is drawn in its place commits; the last window ends with a miss of the one that left.
    for (let i = 0; i < 8 && cast.world.job(job).state === 'seated'; i++) {
      for (const seat of seated(cast, job)) if (seat !== gone) await seat.commit(job)
      await cast.world.pass(4 * MINUTE)
    }
    await revealAll(cast, job)
    await cast.world.pass(60 * MINUTE)
    expect(cast.world.job(job).state).toBe('settled')
    expect(cast.world.entry('miners', gone!.address)).toBe('')
    expect((await tick(cast)).error).toBeUndefined()
    expect(cast.world.published.network['set-aside']).toBeUndefined()
  })

  it('takes a job that nobody commits to with it, without stopping the network', async () => {
    const cast = await leaving()
    const job = await submit(cast)
    await tick(cast)
    for (const miner of seated(cast, job)) await leave(cast, miner)
    await cast.world.pass(60 * MINUTE)
    expect(cast.world.job(job)).toMatchObject({
      state: 'expired',
      code: 'no-commitments',
      refunded: String(PRICE),
    })
    expect((await tick(cast)).error).toBeUndefined()
  })
})

describe('an overdue move that raises', () => {
  const KINDS = `
    local deadlines, state = require('apus.state.deadlines'), require('apus.state.state')
    state.clock = { network = 1, timestamp = 1 }
    deadlines.handle('good', function() good = (good or 0) + 1 return true end)
    deadlines.handle('bad', function() error('a field of nothing') end)`

  it('is set aside, counted and published, and those after it are made', async () => {
    const lua = await loadInAos(['state.deadlines', 'aos.publish', 'state.state'])
    const text = await lua.run(`${KINDS}
      deadlines.add(1, 'bad', { job = 'j' })
      deadlines.add(2, 'good', {})
      local made = deadlines.run(9)
      local again = deadlines.run(9)
      return made .. ' ' .. again .. ' ' .. good .. ' ' .. state.setAside.count .. ' ' .. state.setAside.last.subject`)
    expect(text).toBe('2 0 1 1 j')
  })

  it('of every kind finds nothing where its miner, model, job or dispute is forgotten', async () => {
    const modules = [
      'jobs.rounds',
      'jobs.penalties',
      'disputes.actions',
      'disputes.void-model',
      'registry.miners',
    ]
    const lua = await loadInAos([...modules, 'jobs.seat-answers'], "{ token = 'token' }")
    const text = await lua.run(`
      for _, name in ipairs({ ${modules.map(name => `'${name}'`).join(', ')} }) do require('apus.' .. name) end
      local deadlines, state = require('apus.state.deadlines'), require('apus.state.state')
      state.network, state.clock = 'network', { network = 1, timestamp = 1 }
      local kinds = deadlines.kinds()
      for i, kind in ipairs(kinds) do
        deadlines.add(i, kind, { job = 'gone', seat = 1, dispute = 'gone', miner = 'gone', model = 'gone', keys = {},
          disputes = {}, quantity = require('apus.codec.amount').of(1) })
      end
      deadlines.run(999)
      return table.concat(kinds, ' ') .. ' | ' .. state.setAside.count .. ' ' .. tostring((state.setAside.last or {}).kind)`)
    expect(text).toBe('dispute forget forget-answers job moot registration seat unstake void | 0 nil')
  })
})

describe('a seat that names tokens which another seat has shown (C4)', () => {
  it('cannot claim more of them than there are, and pays for its silence', async () => {
    const cast = await setUp({ miners: 6 })
    const job = await submit(cast)
    await tick(cast)
    const short = resultOf(['The'])
    const borrowed = { ...HONEST, tokenDigest: short.tokenDigest }
    const liar = seated(cast, job)[0]!
    for (let i = 0; i < 40 && cast.world.job(job).state !== 'revealing'; i++) {
      const [next] = seated(cast, job)
      if (next) await next.commit(job, next === liar ? borrowed : short)
      else await tick(cast)
    }
    for (const miner of seated(cast, job, ['committed'])) if (miner !== liar) await miner.reveal(job, short)
    expect((await liar.reveal(job, borrowed)).code).toBe('token-mismatch')
    await cast.world.pass(100 * MINUTE)
    const seat = cast.world.job(job).seats.find(s => s.miner === liar.address)
    expect(seat?.slashed).toBe(String(29n * APUS))
  })
})

describe('a job that nobody can do (H3)', () => {
  it('costs no miner its weight; a miner that misses what others did loses some, to a limit', async () => {
    const cast = await setUp({ miners: 5 })
    for (let i = 0; i < 2; i++) {
      await submit(
        cast,
        { 'X-Prompt-Id': addressOf('nothing'), 'X-Prompt-Hash': digestOf('nothing') },
        PRICE,
        '',
      )
      await tick(cast)
      await cast.world.pass(40 * MINUTE)
    }
    for (const miner of cast.miners) expect(cast.world.miner(miner.address).missed).toBe(0)
    const job = await submit(cast)
    await tick(cast)
    const [absent, ...others] = seated(cast, job)
    for (const other of others) await other.commit(job)
    await cast.world.pass(11 * MINUTE)
    expect(cast.world.miner(absent!.address).missed).toBe(1)
  })
})

describe('a message that the scheduler assigns again after its marks are gone (H4)', () => {
  it('opens nothing under the id of a job or a dispute, living or ended', async () => {
    const lua = await loadInAos(['jobs.jobs', 'disputes.dispute', 'intake.refusal'], "{ token = 'token' }")
    const text = await lua.run(`
      local state, refusal = require('apus.state.state'), require('apus.intake.refusal')
      local jobs, dispute = require('apus.jobs.jobs'), require('apus.disputes.dispute')
      state.jobs.alive, state.archive.ended, state.disputes.open = {}, '{}', {}
      local codes = {}
      for i, open in ipairs({
        function() jobs.open({}, 'alive', 'wallet', 'account') end,
        function() jobs.open({}, 'ended', 'wallet', 'account') end,
        function() dispute.open({ id = 'open', accused = 'a' }, {}, {}, 1) end,
      }) do codes[i] = refusal.catch(open).code end
      return table.concat(codes, ' ')`)
    expect(text).toBe('duplicate duplicate duplicate')
  })
})

it('a scheduler whose clock steps back makes no time count twice (L1)', async () => {
  const { world } = await setUp({ miners: 0 })
  const networkTime = () => JSON.parse(String(world.published.network.clock)).network as number
  const tickAt = (timestamp: number) =>
    world.raw({ from: addressOf('anyone'), process: world.network, tags: { Action: 'Tick' }, timestamp })
  const { now } = world
  await tickAt(now)
  const before = networkTime()
  for (let i = 0; i < 5; i++) {
    await tickAt(now - 60_000)
    await tickAt(now)
  }
  expect(networkTime()).toBe(before)
})
