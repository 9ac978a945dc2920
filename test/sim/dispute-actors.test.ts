import { accusedAnswer, type DisputeView } from '@apus/shared'
import { describe, expect, it } from 'vitest'
import { bundleLayout, decodeManifest } from '../../shared/src/machine/index.ts'
import { APUS, addressOf, type World } from '../support/contracts.ts'
import { BASE_PRICE, TOKEN_PRICE } from '../support/contracts-cast.ts'
import { flipBit } from '../support/dispute/flip.ts'
import { type Side, Trial } from '../support/dispute/trial.ts'

const SEAT_PRICE = BASE_PRICE + TOKEN_PRICE * 4n
const BOND = SEAT_PRICE * 25n
const DISPUTE_BOND = SEAT_PRICE * 3n
const WAGE = BASE_PRICE + TOKEN_PRICE * 4n

const wrongWeight = (trial: Trial) => {
  const layout = bundleLayout(decodeManifest(trial.bundle.leaf(0)))
  return trial.run(flipBit(trial.bundle, layout.layers[1]!.gateUp.first, 3, 6))
}

/** Everything that a wallet owns, wherever it lies: token, account, stake and bonds of its open disputes. */
function worth(world: World, address: string): bigint {
  const stake = world.entry('miners', address) === undefined ? 0n : BigInt(world.miner(address).stake)
  const disputes = Object.keys((world.published.network.disputes ?? {}) as object)
    .map(id => world.dispute(id))
    .filter(d => d.challenger === address && (d.state === 'running' || d.state === 'waiting'))
  const bonds = disputes.reduce((sum, d) => sum + BigInt(d.bond), 0n)
  return world.balance(address) + world.account(address) + stake + bonds
}

async function fund(trial: Trial, address: string, units = 1_000n * APUS): Promise<void> {
  const { world, cast } = trial
  await world.send(cast.requester, world.token, 'Transfer', { Recipient: address, Quantity: String(units) })
  await world.pay(address, units, 'Deposit')
}

interface Scene {
  readonly trial: Trial
  readonly liar: Side
  readonly honest: readonly Side[]
  readonly accomplice: string
}

async function scene(): Promise<Scene> {
  const trial = await Trial.open({ purse: 100n * APUS })
  for (const miner of trial.cast.miners) await trial.world.pay(miner.address, 100n * APUS, 'Deposit')
  const accomplice = addressOf('accomplice')
  await fund(trial, accomplice)
  const [liar, ...honest] = await trial.compute(await wrongWeight(trial))
  return { trial, liar: liar!, honest, accomplice }
}

const honestWorth = 5_100n * APUS

/** Opens for the accomplice at a position, with the prompt shown by whoever opens first. */
async function openAt({ trial, liar, honest, accomplice }: Scene, position: number): Promise<string> {
  const data = { prompt: promptOf(await trial.openingOf(honest[0]!, liar)) }
  const { id, code } = await trial.send(accomplice, {
    action: 'Open-Dispute',
    tags: { Job: trial.job, Accused: liar.miner.address, Position: String(position) },
    data,
  })
  expect(code).toBeUndefined()
  return id
}

const promptOf = (message: { data?: unknown }) => (message.data as { prompt: unknown }).prompt

describe('a shield', () => {
  it.each([
    ['on the wrong position, stalling', 2],
    ['on the right position, stalling', 6],
  ])('%s, does not save the liar and costs both', async (_, position) => {
    const s = await scene()
    const { trial, liar, honest, accomplice } = s
    const { world } = trial
    const shields = [await openAt(s, position), await openAt(s, position)]
    for (const id of shields) {
      const view = world.dispute(id)
      if (view.turn === 'accused') await trial.send(liar.miner.address, accusedAnswer(view, liar.run))
    }
    const opened = await trial.accuse(honest[0]!.miner.address, liar, honest[0]!.run)
    const played = await trial.play(opened.id, honest[0]!.run, liar)
    expect(played.view.state).toBe('proven')
    await trial.finish()
    const pair = worth(world, liar.miner.address) + worth(world, accomplice)
    expect(pair).toBe(honestWorth + 1_000n * APUS - BOND)
    expect(worth(world, honest[0]!.miner.address)).toBe(honestWorth + WAGE + (BOND * 3n) / 10n)
    expect(worth(world, honest[1]!.miner.address)).toBe(honestWorth + WAGE)
  })

  it('that loses on purpose first pays half its bond away and acquits of nothing', async () => {
    const s = await scene()
    const { trial, liar, honest, accomplice } = s
    const { world } = trial
    const id = await openAt(s, 3)
    const thrown = await trial.play(id, liar.run, liar)
    expect(['refuted', 'abandoned']).toContain(thrown.view.state)
    const opened = await trial.accuse(honest[0]!.miner.address, liar, honest[0]!.run)
    expect(opened.code).toBeUndefined()
    expect((await trial.play(opened.id, honest[0]!.run, liar)).view.state).toBe('proven')
    await trial.finish()
    const pair = worth(world, liar.miner.address) + worth(world, accomplice)
    expect(pair).toBe(honestWorth + 1_000n * APUS - BOND - DISPUTE_BOND / 2n)
    expect(worth(world, honest[0]!.miner.address)).toBe(honestWorth + WAGE + (BOND * 3n) / 10n)
  })
})

describe('a snipe', () => {
  it('that copies every pick and proves first leaves the liar at a loss, the challenger without one', async () => {
    const s = await scene()
    const { trial, liar, honest, accomplice } = s
    const { world } = trial
    const challenger = honest[0]!
    const real = await trial.accuse(challenger.miner.address, liar, challenger.run, liar.run)
    const copy = await trial.accuse(accomplice, liar, challenger.run, liar.run)
    // The challenger is stopped just before its proof; the copy goes on with the answers that are kept.
    const stopped = await trial.play(real.id, challenger.run, liar, {
      evidence: liar.run,
      stall: true,
      tamper: (_: DisputeView, message) => (message.action === 'Prove-Step' ? undefined : message),
    })
    expect(stopped.view.moves).toContain('Prove-Step')
    const sniped = await trial.play(copy.id, challenger.run, liar, { evidence: liar.run })
    expect(sniped.view.state).toBe('proven')
    expect(world.dispute(real.id).state).toBe('moot')
    await trial.finish()
    expect(worth(world, challenger.miner.address)).toBe(honestWorth + WAGE)
    const pair = worth(world, liar.miner.address) + worth(world, accomplice)
    expect(pair).toBe(honestWorth + 1_000n * APUS - (BOND * 7n) / 10n)
  })
})

describe('a flood', () => {
  it('of paid disputes on an honest seat makes it richer and never guilty', async () => {
    const trial = await Trial.open({ parameters: { disputeWindow: 600 * 60_000 } })
    const flooder = addressOf('flooder')
    await fund(trial, flooder, 5_000n * APUS)
    const [accused] = await trial.compute()
    const { world } = trial
    const data = { prompt: promptOf(await trial.openingOf(accused!, accused!)) }
    const before = worth(world, accused!.miner.address)
    const rich = worth(world, flooder)
    const ids: string[] = []
    let cost = 0n
    for (let i = 0; i < 40; i++) {
      const { id, code } = await trial.send(flooder, {
        action: 'Open-Dispute',
        tags: { Job: trial.job, Accused: accused!.miner.address, Position: String(i % 8) },
        data,
      })
      expect(code).toBeUndefined()
      cost += BigInt(world.dispute(id).bond)
      ids.push(id)
    }
    const open = () => ids.map(id => world.dispute(id)).filter(d => d.state === 'running')
    expect(open()).toHaveLength(4)
    for (let running = open(); running.length > 0; running = open()) {
      for (const view of running) {
        if (view.turn === 'accused')
          expect(
            (await trial.send(accused!.miner.address, accusedAnswer(view, accused!.run))).code,
          ).toBeUndefined()
      }
      await world.pass(120_000)
    }
    expect(ids.every(id => world.dispute(id).state === 'abandoned')).toBe(true)
    expect(worth(world, flooder)).toBe(rich - cost)
    const gained = worth(world, accused!.miner.address) - before
    expect(gained).toBeGreaterThanOrEqual(cost / 2n - 40n)
    await trial.finish()
    expect(world.job(trial.job)).toMatchObject({ state: 'settled' })
    expect(world.job(trial.job).seats.every(seat => seat.slashed === undefined)).toBe(true)
  })
})

describe('requester, liar and challenger in one purse', () => {
  it('lose by convicting themselves', async () => {
    const s = await scene()
    const { trial, liar, honest, accomplice } = s
    const { world, cast } = trial
    const purse = () =>
      worth(world, cast.requester) + worth(world, liar.miner.address) + worth(world, accomplice)
    const paid = BigInt(world.job(trial.job).escrow)
    const before = purse() + paid
    const opened = await trial.accuse(accomplice, liar, honest[0]!.run)
    expect((await trial.play(opened.id, honest[0]!.run, liar)).view.state).toBe('proven')
    await trial.finish()
    expect(purse()).toBeLessThan(before - BOND / 2n + WAGE)
    expect(purse()).toBe(before - 2n * WAGE - (BOND - (BOND * 3n) / 10n - SEAT_PRICE))
  })
})
