import { expect, it } from 'vitest'
import { APUS } from '../support/contracts.ts'
import { type Cast, stage, tick } from '../support/contracts-cast.ts'

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
  const cast = await stage({ miners: 1 })
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
