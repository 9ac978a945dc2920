import { bundleLayout, decodeManifest } from '@apus/shared/machine'
import { expect, it } from 'vitest'
import { APUS } from '../support/contracts.ts'
import { BASE_PRICE, seated, TOKEN_PRICE, tick } from '../support/contracts-cast.ts'
import { flipBit } from '../support/dispute/flip.ts'
import { resultOf } from '../support/dispute/play.ts'
import { type Side, Trial } from '../support/dispute/trial.ts'

const SEAT_PRICE = BASE_PRICE + TOKEN_PRICE * 4n
const BOND = SEAT_PRICE * 25n

it('a seat that sees all other reveals and then reveals a lie late is convicted, whether its job is settled or not', async () => {
  const trial = await Trial.open({ purse: 100n * APUS, parameters: { disputeWindow: 30 * 60_000 } })
  const { world, job, cast } = trial
  const layout = bundleLayout(decodeManifest(trial.bundle.leaf(0)))
  const lie = await trial.run(flipBit(trial.bundle, layout.layers[1]!.gateUp.first, 3, 6))
  const sides: Side[] = []
  for (let i = 0; i < 40 && world.job(job).state !== 'revealing'; i++) {
    const [miner] = seated(cast, job)
    if (!miner) {
      await tick(cast)
      continue
    }
    const run = sides.length === 0 ? lie : trial.honest
    const side = { miner, run, result: resultOf(run) }
    sides.push(side)
    await miner.commit(job, trial.resultOf(side.run, side.result))
  }
  const [liar, ...honest] = sides
  for (const side of honest) await side.miner.reveal(job, trial.resultOf(side.run, side.result))
  await world.pass(11 * 60_000)
  expect(world.job(job).state).toBe('agreed')
  const early = await trial.accuse(honest[0]!.miner.address, liar!, trial.honest, lie)
  expect(early.code).toBe('not-revealed')
  await world.pass(25 * 60_000)
  const revealed = await liar!.miner.reveal(job, trial.resultOf(lie, liar!.result))
  expect(revealed.code).toBeUndefined()
  await world.pass(10 * 60_000)
  expect(world.job(job).state).toBe('settled')
  // Its own seat is free by now: the bond comes from its account.
  await world.pay(honest[0]!.miner.address, 100n * APUS, 'Deposit')
  const opened = await trial.accuse(honest[0]!.miner.address, liar!, trial.honest, lie)
  expect(opened.code).toBe(undefined)
  expect((await trial.play(opened.id, trial.honest, liar!)).view.state).toBe('proven')
  const seat = world.job(job).seats.find(s => s.miner === liar!.miner.address)!
  expect(seat).toMatchObject({ state: 'late', slashed: String(BOND) })
  expect(world.miner(liar!.miner.address).locked).toBe('0')
  const again = await trial.accuse(honest[0]!.miner.address, liar!, trial.honest, lie)
  expect(again.code).toBe('job-ended')
})
