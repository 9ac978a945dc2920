import { bundleLayout, decodeManifest } from '@apus/shared/machine'
import { ENDED } from '@apus/shared/protocol'
import { describe, expect, it } from 'vitest'
import { BalanceSheet, told } from '../support/balance-sheet.ts'
import { APUS, addressOf, DEPLOYER, type World } from '../support/contracts.ts'
import {
  BASE_PRICE,
  type Cast,
  Miner,
  peerOf,
  SIGNATURE,
  setUp,
  TOKEN_PRICE,
} from '../support/contracts-cast.ts'
import { flipBit } from '../support/dispute/flip.ts'
import { TRIAL_SHAPE, Trial } from '../support/dispute/trial.ts'
import { workSeats } from '../support/dispute/work-seats.ts'
import { randomBundle } from '../support/machine/random-model.ts'

const WAGE = BASE_PRICE + TOKEN_PRICE * 4n
const BOND = WAGE * 25n
/** Audits are certain below this standing. */
const NEWCOMER = 4
const JOBS = 40
const MINUTE = 60_000
const HOUR = 60 * MINUTE

const lieOf = (trial: Trial) => {
  const layout = bundleLayout(decodeManifest(trial.bundle.leaf(0)))
  return trial.run(flipBit(trial.bundle, layout.layers[1]!.gateUp.first, 3, 6))
}

const freeOf = (world: World, address: string): bigint => {
  const { stake, locked, unstaking } = world.miner(address)
  return BigInt(stake) - BigInt(locked) - BigInt(unstaking)
}

/** Any honest seat of the job that differs from the liar proves it wrong. */
async function challenge(trial: Trial, liar: string): Promise<string | undefined> {
  const accused = trial.sides.get(liar)
  const honest = [...trial.sides.values()].find(side => side.run === trial.honest)
  if (!accused || accused.run === trial.honest || !honest) return undefined
  const opened = await trial.accuse(honest.miner.address, accused, trial.honest)
  expect(opened.code).toBeUndefined()
  return (await trial.play(opened.id, trial.honest, accused)).view.state
}

describe('a miner that cheats only when it is the sole seat', () => {
  it('and computes honestly until audits are rare loses more than it ever earns', async ({ annotate }) => {
    const first = await Trial.open({ miners: 3, redundancy: 1, parameters: { retention: JOBS * HOUR } })
    const { world, cast } = first
    const [liar, ...honest] = cast.miners.map(m => m.address) as [string, ...string[]]
    const sheet = new BalanceSheet(world, { hostile: [liar], honest, customers: [cast.requester] })
    let lies = 0
    let caught = 0
    for (let i = 0, trial = first; i < JOBS; i++) {
      const lie = await lieOf(trial)
      const cheats = world.miner(liar).standing >= NEWCOMER
      // It cannot know whether an audit seat will follow: whoever commits first is alone.
      const sole = world.job(trial.job).seats[0]?.miner === liar
      await workSeats(trial, {
        runOf: miner => (miner.address === liar && cheats && sole ? lie : trial.honest),
      })
      if (cheats && sole) lies++
      if ((await challenge(trial, liar)) === 'proven') caught++
      await trial.finish()
      if (i < JOBS - 1) trial = await Trial.submit(cast, trial.bundle, { redundancy: 1 })
    }
    expect(lies).toBeGreaterThan(1)
    expect(caught).toBeGreaterThan(0)
    const figures = sheet.close()
    expect(figures.hostile).toBeLessThan(0n)
    await annotate(`${lies} lies, ${caught} caught; ${told(figures)}`)
  })
})

const isOver = (trial: Trial) => ENDED.includes(trial.world.job(trial.job).state)

describe('a miner that cheats on a hundred jobs at once', () => {
  it('and has stake for one job gets a seat in one job and loses that stake', async ({ annotate }) => {
    const parameters = { seatBondFloor: String(1_000n * APUS), drawTimeout: 600 * MINUTE }
    // The honest have stake for all these jobs, so that only the liar's own stake holds it back.
    const bundle = randomBundle(TRIAL_SHAPE, 1)
    const cast = await setUp({ miners: 4, bundle, maxContext: 256, stake: 55_000n * APUS, parameters })
    const { world } = cast
    const liar = await join(cast, bundle.root, 'stake for one', 2_000n * APUS)
    const everyone = { ...cast, miners: [...cast.miners, liar] }
    const honest = cast.miners.map(m => m.address)
    const sheet = new BalanceSheet(world, { hostile: [liar.address], honest, customers: [cast.requester] })
    const trials: Trial[] = []
    for (let i = 0; i < 100; i++) trials.push(await Trial.submit(everyone, bundle, { redundancy: 1 }))
    const lie = await lieOf(trials[0]!)
    for (const trial of trials)
      await workSeats(trial, { runOf: ({ address }) => (address === liar.address ? lie : trial.honest) })
    const seats = trials.filter(trial => trial.sides.has(liar.address))
    expect(seats).toHaveLength(1)
    expect(trials.some(isOver)).toBe(false)
    const ends: (string | undefined)[] = []
    for (const trial of trials) ends.push(await challenge(trial, liar.address))
    expect(ends.filter(end => end === 'proven')).toHaveLength(1)
    for (const trial of trials) await trial.finish()
    const figures = sheet.close()
    expect(figures.hostile).toBe(-1_000n * APUS)
    await annotate(told(figures))
  })
})

describe('a miner that takes its stake back', () => {
  it('at each step of a job in which it lies, still loses its bond', async ({ annotate }) => {
    const trial = await Trial.open({ parameters: { unstakeDelay: MINUTE } })
    const { world, cast } = trial
    const lie = await lieOf(trial)
    const liar = new Miner(world, world.job(trial.job).seats[0]?.miner ?? '')
    const honest = cast.miners.map(m => m.address).filter(who => who !== liar.address)
    const sheet = new BalanceSheet(world, { hostile: [liar.address], honest, customers: [cast.requester] })
    let asked = 0
    const takeAll = async () => {
      const free = freeOf(world, liar.address)
      expect((await liar.act('Unstake', { Quantity: String(free + 1n) })).code).toBe('stake-locked')
      if (free > 0n) expect((await liar.act('Unstake', { Quantity: String(free) })).code).toBeUndefined()
      await world.pass(2 * MINUTE)
      const held = world.account(liar.address)
      if (held > 0n) await liar.act('Withdraw', { Quantity: String(held) })
      asked++
    }
    await takeAll()
    await workSeats(trial, {
      runOf: ({ address }) => (address === liar.address ? lie : trial.honest),
      before: async ({ address }) => {
        if (address === liar.address) await takeAll()
      },
    })
    await takeAll()
    await liar.act('Unregister')
    const accused = trial.sides.get(liar.address)!
    const opened = await trial.accuse(honest.find(who => trial.sides.has(who))!, accused, trial.honest)
    expect((await trial.play(opened.id, trial.honest, accused)).view.state).toBe('proven')
    await trial.finish()
    await world.pass(2 * MINUTE)
    expect(asked).toBe(4)
    const figures = sheet.close()
    expect(figures.hostile).toBe(-BOND)
    await annotate(told(figures))
  })
})

/** One more miner, with just this much stake. */
async function join(cast: Cast, model: string, name: string, stake: bigint): Promise<Miner> {
  const { world } = cast
  const miner = new Miner(world, addressOf(name))
  await world.send(DEPLOYER, world.token, 'Transfer', { Recipient: miner.address, Quantity: String(stake) })
  await world.pay(miner.address, stake, 'Stake')
  await miner.act('Register', {
    'Peer-Id': peerOf(name),
    'Node-Signature': SIGNATURE,
    Expires: String(world.now + 1e10),
  })
  await miner.act('Serve', {}, JSON.stringify([model]))
  return miner
}
