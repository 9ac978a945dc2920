import { bundleLayout, decodeManifest } from '@apus/shared/machine'
import type { Replay } from '@apus/shared/replay'
import { describe, expect, it } from 'vitest'
import { BASE_PRICE, TOKEN_PRICE } from '../support/contracts-cast.ts'
import { flipBit } from '../support/dispute/flip.ts'
import { pretending, stoppedAt, withWrongPiece, withWrongRow } from '../support/dispute/lies.ts'
import { type Played, type Side, TRIAL_SHAPE, Trial, type TrialOptions } from '../support/dispute/trial.ts'

const SEAT_PRICE = BASE_PRICE + TOKEN_PRICE * 4n
const BOND = SEAT_PRICE * 25n
const DISPUTE_BOND = SEAT_PRICE * 3n
const min = (a: bigint, b: bigint) => (a < b ? a : b)

interface Case {
  readonly trial: Trial
  readonly liar: Side
  readonly honest: Side
}

async function seatedWith(
  lie: (trial: Trial) => Promise<Replay> | Replay,
  options: TrialOptions = {},
): Promise<Case> {
  const trial = await Trial.open(options)
  const [liar, honest] = await trial.compute(await lie(trial))
  expect(trial.world.job(trial.job).state).toBe('held')
  return { trial, liar: liar!, honest: honest! }
}

/** The honest seat disputes, with or without the liar's leaves, until the dispute has ended. */
async function prosecute({ trial, liar, honest }: Case, withheld = false): Promise<Played | undefined> {
  const leaves = withheld ? undefined : liar.run
  const opened = await trial.accuse(honest.miner.address, liar, honest.run, leaves)
  expect(opened.code).toBeUndefined()
  if (trial.world.entry('disputes', opened.id) === undefined) return undefined
  return trial.play(opened.id, honest.run, liar)
}

/** The liar lost its bond once, all others have what is theirs, and the answer is delivered and paid. */
async function expectJustice({ trial, liar, honest }: Case): Promise<void> {
  const { world, job, cast } = trial
  const seat = world.job(job).seats.find(s => s.miner === liar.miner.address)!
  expect(seat.slashed).toBe(String(BOND))
  expect(world.job(job).state).toBe('agreed')
  await trial.finish()
  expect(world.job(job).state).toBe('settled')
  const wage = BASE_PRICE + TOKEN_PRICE * BigInt(honest.run.tokens.length)
  expect(world.account(liar.miner.address)).toBe(0n)
  expect(world.account(honest.miner.address)).toBe(wage + (BOND * 3n) / 10n)
  expect(world.account(cast.requester)).toBe(min(BOND / 5n, SEAT_PRICE))
  const { burning, burnt } = world.totals()
  const taken = min(BOND / 5n, SEAT_PRICE) + (BOND * 3n) / 10n
  expect(BigInt(burning) + BigInt(burnt)).toBe(BOND - taken)
  const stake = 5_000n * 10n ** 12n
  expect(world.miner(liar.miner.address).stake).toBe(String(stake - BOND))
  expect(world.miner(honest.miner.address)).toMatchObject({ stake: String(stake), locked: '0' })
  expect(world.miner(liar.miner.address)).toMatchObject({ standing: 0, locked: '0' })
}

const layoutOf = (trial: Trial) => bundleLayout(decodeManifest(trial.bundle.leaf(0)))
const wrongWeight = (trial: Trial) =>
  trial.run(flipBit(trial.bundle, layoutOf(trial).layers[1]!.gateUp.first, 3, 6))

describe('a seat is convicted', () => {
  it('whose weights are wrong by one bit, in five messages', async () => {
    const found = await seatedWith(wrongWeight)
    const played = (await prosecute(found))!
    expect(played.view.state).toBe('proven')
    expect(played.messages).toHaveLength(4)
    expect(played.largest).toBeLessThan(65_536)
    await expectJustice(found)
  })

  it('that withholds all its leaves, in at most twelve', async () => {
    const found = await seatedWith(wrongWeight)
    const played = (await prosecute(found, true))!
    expect(played.view.state).toBe('proven')
    expect(played.messages.length).toBeLessThan(8)
    await expectJustice(found)
  })

  it('that computed another prompt', async () => {
    const found = await seatedWith(trial => trial.run(trial.bundle, { prompt: [1, 2, 3, 4, 5] }))
    expect((await prosecute(found, true))!.view.state).toBe('proven')
    await expectJustice(found)
  })

  it.each([
    ['known', false],
    ['withheld', true],
  ])('with one wrong K row of the first prompt position, its pages %s', async (_, withheld) => {
    const found = await seatedWith(trial => withWrongRow(trial.honest, 4, 0))
    const played = (await prosecute(found, withheld))!
    expect(played.view.state).toBe('proven')
    expect(played.messages.length).toBeLessThanOrEqual(withheld ? 7 : 5)
    await expectJustice(found)
  })

  it('that samples with another seed', async () => {
    const sampler = { temperature: 60_000, topK: 40, topP: 60_000, repeatPenalty: 80_000, seed: 3 }
    const found = await seatedWith(trial => trial.run(trial.bundle, { noise: [1, 2] }), { sampler })
    expect((await prosecute(found, true))!.view.state).toBe('proven')
    await expectJustice(found)
  })

  it('that stops early with a flag of its own', async () => {
    const found = await seatedWith(trial => stoppedAt(trial.honest, 2, 1))
    expect((await prosecute(found, true))!.view.state).toBe('proven')
    await expectJustice(found)
  })

  it('that goes on after the end of the context, in one message', async () => {
    const more = ({ honest }: Trial) =>
      pretending(honest, {
        tokens: [...honest.tokens, honest.tokens[0]!],
        pieces: [...honest.pieces, honest.pieces[0]!],
        checkpoints: [...honest.checkpoints, honest.checkpoints[0]!],
      })
    const options = { shape: { ...TRIAL_SHAPE, context: 64 }, promptLength: 60, maxTokens: 8 }
    const found = await seatedWith(more, options)
    expect(found.honest.run.tokens).toHaveLength(5)
    expect(await prosecute(found, true)).toBeUndefined()
    const { state, seats } = found.trial.world.job(found.trial.job)
    expect(state).toBe('agreed')
    expect(seats.filter(seat => seat.slashed).map(seat => seat.miner)).toEqual([found.liar.miner.address])
  })

  it('that ends without a stop, in one message', async () => {
    const found = await seatedWith(trial => stoppedAt(trial.honest, 2, 0))
    expect(await prosecute(found, true)).toBeUndefined()
    await expectJustice(found)
  })

  it('whose answer has a wrong piece, in one message once the piece is shown', async () => {
    const found = await seatedWith(trial => withWrongPiece(trial.honest, 1, Buffer.from('lie')))
    const played = (await prosecute(found, true))!
    expect(played.view.state).toBe('moot')
    expect(played.messages.at(-1)!.action).toBe('Prove-Answer')
    await expectJustice(found)
  })
})

it('a false accusation ends with the conviction of its author: the honest are paid at once', async () => {
  const found = await seatedWith(wrongWeight, { purse: DISPUTE_BOND })
  const { trial, liar, honest } = found
  await trial.world.pay(liar.miner.address, DISPUTE_BOND, 'Deposit')
  const { id, code } = await trial.accuse(liar.miner.address, honest, liar.run, honest.run)
  expect(code).toBeUndefined()
  await prosecute(found)
  expect(trial.world.dispute(id).state).toBe('abandoned')
  expect(trial.world.job(trial.job).state).toBe('agreed')
  const wage = BASE_PRICE + TOKEN_PRICE * BigInt(honest.run.tokens.length)
  const share = (BOND * 3n) / 10n + DISPUTE_BOND / 2n
  expect(trial.world.account(honest.miner.address)).toBe(wage + share)
  expect(trial.world.account(liar.miner.address)).toBe(0n)
  await trial.finish()
  expect(trial.world.job(trial.job).state).toBe('settled')
})

describe('money', () => {
  it('of a bond comes from the account, then from the seat, and returns there', async () => {
    const found = await seatedWith(wrongWeight)
    const { trial, liar, honest } = found
    const before = trial.world.miner(honest.miner.address)
    const opened = await trial.accuse(honest.miner.address, liar, honest.run, liar.run)
    expect(trial.world.dispute(opened.id).bond).toBe(String(DISPUTE_BOND))
    const during = trial.world.miner(honest.miner.address)
    expect(BigInt(before.stake) - BigInt(during.stake)).toBe(DISPUTE_BOND)
    expect(BigInt(before.locked) - BigInt(during.locked)).toBe(DISPUTE_BOND)
    await trial.play(opened.id, honest.run, liar)
    await expectJustice(found)
  })
})
