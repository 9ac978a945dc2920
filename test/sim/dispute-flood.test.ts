import { accusedAnswer } from '@apus/shared/dispute'
import { bundleLayout, decodeManifest } from '@apus/shared/machine'
import type { DisputeView } from '@apus/shared/protocol'
import { describe, expect, it } from 'vitest'
import { BalanceSheet, told } from '../support/balance-sheet.ts'
import { APUS, addressOf, DEPLOYER } from '../support/contracts.ts'
import { BASE_PRICE, TOKEN_PRICE } from '../support/contracts-cast.ts'
import { flipBit } from '../support/dispute/flip.ts'
import { type Side, Trial } from '../support/dispute/trial.ts'

const FLOOD = 1_000
const MINUTE = 60_000
const WAGE = BASE_PRICE + TOKEN_PRICE * 4n
const BOND = WAGE * 25n
const DISPUTE_BOND = WAGE * 3n
const POSITIONS = 8
const RUNNING = 4

const flooder = addressOf('flooder')

/** Bonds of a flood: each dispute that waits makes the next a quarter dearer. */
const bondsOf = (count: number, first = 0): bigint =>
  Array.from({ length: count }, (_, i) => BigInt(Math.max(0, first + i - RUNNING))).reduce(
    (sum, waiting) => sum + (DISPUTE_BOND * (4n + waiting)) / 4n,
    0n,
  )

async function endow(trial: Trial, address: string, units: bigint): Promise<void> {
  await trial.world.send(DEPLOYER, trial.world.token, 'Transfer', {
    Recipient: address,
    Quantity: String(units),
  })
  await trial.world.pay(address, units, 'Deposit')
}

const promptOf = async (trial: Trial, seat: Side) =>
  ((await trial.openingOf(seat, seat)).data as { prompt: unknown }).prompt

/** Opens disputes at every position in turn, each with its bond. */
async function floodAt(trials: readonly Trial[], accused: string, count: number): Promise<string[]> {
  const prompts = await Promise.all(trials.map(t => promptOf(t, t.sides.get(accused)!)))
  const ids: string[] = []
  for (let i = 0; i < count; i++) {
    const at = i % trials.length
    const { id, code, error } = await trials[at]!.send(flooder, {
      action: 'Open-Dispute',
      tags: { Job: trials[at]!.job, Accused: accused, Position: String(i % POSITIONS) },
      data: { prompt: prompts[at] },
    })
    expect({ code, error }).toEqual({})
    ids.push(id)
  }
  return ids
}

const isOpen = ({ state }: DisputeView) => state === 'running' || state === 'waiting'

/** The accused answers whatever it is asked, as long as disputes run against it, and nobody else says anything. */
async function answerAll(trials: readonly Trial[], accused: string, ids: readonly string[]): Promise<void> {
  const { world } = trials[0]!
  const runOf = (view: DisputeView) => trials.find(t => t.job === view.job)!.sides.get(accused)!.run
  let from = 0
  for (let i = 0; i < FLOOD && from < ids.length; i++) {
    const views = ids.slice(from, from + 2 * RUNNING).map(id => world.dispute(id))
    for (const view of views) {
      if (view.state === 'running' && view.turn === 'accused')
        expect((await trials[0]!.send(accused, accusedAnswer(view, runOf(view)))).code).toBeUndefined()
    }
    await world.pass(2 * MINUTE)
    while (from < ids.length && !isOpen(world.dispute(ids[from]!))) from++
  }
}

describe('a flood of a thousand paid disputes', () => {
  it('on four honest jobs of one miner makes the miner richer and convicts nobody', async ({ annotate }) => {
    const options = { miners: 3, parameters: { disputeClock: 4 * MINUTE, disputeIncrement: MINUTE } }
    const first = await Trial.open(options)
    const trials = [first]
    for (let i = 0; i < 3; i++) trials.push(await Trial.submit(first.cast, first.bundle, options))
    const { world, cast } = first
    await endow(first, flooder, 500_000n * APUS)
    const miners = cast.miners.map(m => m.address)
    const sheet = new BalanceSheet(world, { hostile: [flooder], honest: miners, customers: [cast.requester] })
    for (const trial of trials) await trial.compute()
    // With two seats and an audit seat, every miner has a seat in every job.
    const accused = miners[0]!
    const ids = await floodAt(trials, accused, FLOOD)
    await answerAll(trials, accused, ids)
    for (const trial of trials) await trial.finish()
    for (const { job } of trials) expect(world.job(job)).toMatchObject({ state: 'settled' })
    const figures = sheet.close()
    expect(figures.hostile).toBe(-bondsOf(FLOOD))
    expect(sheet.gain(accused)).toBe(4n * WAGE + bondsOf(FLOOD) / 2n)
    await annotate(told(figures))
  })

  it('opened before the honest dispute does not save the liar, however poor the honest challenger is', async ({
    annotate,
  }) => {
    const trial = await Trial.open({ parameters: { disputeClock: 4 * MINUTE, disputeIncrement: MINUTE } })
    const { world, cast } = trial
    const layout = bundleLayout(decodeManifest(trial.bundle.leaf(0)))
    const lie = await trial.run(flipBit(trial.bundle, layout.layers[1]!.gateUp.first, 3, 6))
    await endow(trial, flooder, 500_000n * APUS)
    const [liar, ...honest] = await trial.compute(lie)
    const sheet = new BalanceSheet(world, {
      hostile: [flooder, liar!.miner.address],
      honest: honest.map(side => side.miner.address),
      customers: [cast.requester],
    })
    const ids = await floodAt([trial], liar!.miner.address, FLOOD)
    const challenger = honest[0]!.miner.address
    expect(world.account(challenger)).toBe(0n)
    // It has no unit but what its seat locked, pays no more than the first of the flood, and goes before those that wait.
    const opened = await trial.accuse(challenger, liar!, trial.honest)
    expect(opened.code).toBeUndefined()
    expect(world.dispute(opened.id).bond).toBe(String(DISPUTE_BOND))
    for (const id of ids.slice(0, RUNNING))
      await trial.send(liar!.miner.address, accusedAnswer(world.dispute(id), lie))
    await world.pass(4 * MINUTE)
    const played = await trial.play(opened.id, trial.honest, liar!)
    expect(played.view.state).toBe('proven')
    await trial.finish()
    // What is left of the flood ends a few disputes a message.
    for (let i = 0; i < FLOOD && ids.some(id => isOpen(world.dispute(id))); i++) await world.pass(2 * MINUTE)
    const figures = sheet.close()
    expect(sheet.gain(challenger)).toBe(WAGE + (BOND * 3n) / 10n)
    expect(figures.hostile).toBe(-BOND - bondsOf(RUNNING) / 2n)
    await annotate(told(figures))
  })
})
