import { expect, it } from 'vitest'
import { APUS } from '../support/contracts.ts'
import { type Cast, setUp, tick } from '../support/contracts-cast.ts'
import { loadInAos } from '../support/lua-modules.ts'

const MINUTE = 60_000
const STEPS = 50
const MOVES_PER_MESSAGE = 16

/** Has a miner ask for its stake back in many steps, all of which come due, and gives how many of them are done. */
async function flood(cast: Cast): Promise<() => number> {
  const { world } = cast
  const [miner] = cast.miners
  if (!miner) throw new Error('there is no miner')
  for (let i = 0; i < STEPS; i++) await miner.act('Unstake', { Quantity: String(APUS) })
  // Time passes without a message for each step of it: only the next messages find the moves overdue.
  for (let i = 0; i < 14; i++) {
    world.now += 2 * MINUTE
    await tick(cast)
  }
  world.now += 2 * MINUTE
  return () => Number(world.account(miner.address) / APUS)
}

it('a flood of deadlines is worked off sixteen moves a message, and Tick may ask for as many again', async () => {
  const cast = await setUp({ miners: 1 })
  const done = await flood(cast)
  expect(done()).toBe(0)
  await tick(cast)
  expect(done()).toBe(MOVES_PER_MESSAGE)
  await cast.world.send(cast.requester, cast.world.network, 'Tick', { Limit: String(MOVES_PER_MESSAGE) })
  expect(done()).toBe(3 * MOVES_PER_MESSAGE)
  await tick(cast)
  expect(done()).toBe(STEPS)
  expect(cast.world.totals().stake).toBe(String(4_950n * APUS))
})

it('the answers of a seat are forgotten sixteen a move, and none is left', async () => {
  const { run } = await loadInAos([
    'jobs.seat-answers',
    'state.clock',
    'state.deadlines',
    'aos.publish',
    'state.state',
  ])
  const counts = await run(`
    local seatAnswers, deadlines = require('apus.jobs.seat-answers'), require('apus.state.deadlines')
    local clock, publish, state = require('apus.state.clock'), require('apus.aos.publish'), require('apus.state.state')
    clock.advance('1000')
    local job, seat, other, left = { id = 'job' }, { miner = 'liar' }, { miner = 'honest' }, {}
    for i = 1, 300 do seatAnswers.keep(job, seat, 'chunks.' .. i, {}, 'text', 'id') end
    seatAnswers.keep(job, other, 'stages.1', {}, 'text', 'id')
    publish.take()
    local function count()
      local kept, published = 0, 0
      for _ in pairs(state.seatAnswers) do kept = kept + 1 end
      for _, tag in ipairs(publish.take() or {}) do
        if tag.name == 'evidence' then for _ in pairs(tag.value) do published = published + 1 end end
      end
      left[#left + 1] = kept .. '/' .. published
    end
    seatAnswers.drop(seat)
    count()
    deadlines.run(clock.now())
    count()
    deadlines.run(clock.now())
    count()
    return table.concat(left, ' ')`)
  expect(counts).toBe('285/32 29/512 1/56')
})
