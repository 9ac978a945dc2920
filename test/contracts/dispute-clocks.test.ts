import { accusedAnswer, type DisputeMessage, openingMove } from '@apus/shared/dispute'
import { bundleLayout, decodeManifest } from '@apus/shared/machine'
import type { DisputeView } from '@apus/shared/protocol'
import { describe, expect, it } from 'vitest'
import { APUS, addressOf, digestOf } from '../support/contracts.ts'
import { BASE_PRICE, TOKEN_PRICE } from '../support/contracts-cast.ts'
import { flipBit } from '../support/dispute/flip.ts'
import { type Side, Trial } from '../support/dispute/trial.ts'

const SEAT_PRICE = BASE_PRICE + TOKEN_PRICE * 4n
const BOND = SEAT_PRICE * 25n
const DISPUTE_BOND = SEAT_PRICE * 3n

const wrongWeight = (trial: Trial) => {
  const layout = bundleLayout(decodeManifest(trial.bundle.leaf(0)))
  return trial.run(flipBit(trial.bundle, layout.layers[1]!.gateUp.first, 3, 6))
}

async function heldTrial(): Promise<{ trial: Trial; liar: Side; honest: Side }> {
  const trial = await Trial.open()
  const [liar, honest] = await trial.compute(await wrongWeight(trial))
  return { trial, liar: liar!, honest: honest! }
}

async function agreedTrial(): Promise<{ trial: Trial; seats: Side[] }> {
  const trial = await Trial.open()
  return { trial, seats: await trial.compute() }
}

/** Somebody without a seat, with money in its account. */
async function outsider(trial: Trial, name: string, units = 1_000n * APUS): Promise<string> {
  const address = addressOf(name)
  await trial.world.pay(trial.cast.requester, units, 'Deposit')
  await trial.world.send(trial.cast.requester, trial.world.network, 'Withdraw', {
    Quantity: String(units),
    Recipient: address,
  })
  await trial.world.pay(address, units, 'Deposit')
  return address
}

const silentAt = (move: string) => (_: DisputeView, message: DisputeMessage) =>
  message.action === move ? undefined : message

/** A bare opening by position, with the prompt proven. */
/** Opens a dispute at a position or a pair of pages, whatever is right or wrong there. */
async function openAt(
  trial: Trial,
  challenger: string,
  accused: Side,
  place: { Position: number } | { Page: number },
) {
  const other = { ...accused.result, checkpointRoot: digestOf('other') as typeof accused.result.kvRoot }
  const { data } = openingMove(trial.honest, {
    job: trial.job,
    accused: accused.miner.address,
    result: other,
    leaves: undefined,
  })!
  const [name, value] = Object.entries(place)[0]!
  return trial.send(challenger, {
    action: 'Open-Dispute',
    tags: { Job: trial.job, Accused: accused.miner.address, [name]: String(value) },
    data,
  })
}

describe('a side that does not move in time loses:', () => {
  it.each(['Answer-Level', 'Answer-Stages', 'Answer-Chunks'])('the accused at %s', async move => {
    const { trial, liar, honest } = await heldTrial()
    const opened = await trial.accuse(honest.miner.address, liar, honest.run)
    const played = await trial.play(opened.id, honest.run, liar, { tamper: silentAt(move) })
    expect(played.view.state).toBe('silent')
    const seat = trial.world.job(trial.job).seats.find(s => s.miner === liar.miner.address)!
    expect(seat.slashed).toBe(String(BOND))
    await trial.finish()
    expect(trial.world.job(trial.job).state).toBe('settled')
  })

  it.each(['Pick-Node', 'Pick-Operation', 'Prove-Step'])('the challenger at %s', async move => {
    const { trial, liar, honest } = await heldTrial()
    const opened = await trial.accuse(honest.miner.address, liar, honest.run)
    const played = await trial.play(opened.id, honest.run, liar, { tamper: silentAt(move) })
    expect(played.view.state).toBe('abandoned')
    expect(trial.world.account(liar.miner.address)).toBe(DISPUTE_BOND / 2n)
    await trial.finish()
    expect(trial.world.job(trial.job)).toMatchObject({ state: 'refunded', code: 'unequal-results' })
    expect(trial.world.miner(liar.miner.address).locked).toBe('0')
  })
})

describe('an honest seat', () => {
  it('loses nothing to a challenger that is wrong, and is paid half of the bond', async () => {
    const { trial, seats } = await agreedTrial()
    const [accused] = seats
    const challenger = await outsider(trial, 'wrong one')
    const before = trial.world.account(accused!.miner.address)
    const opened = await openAt(trial, challenger, accused!, { Position: 5 })
    const view = trial.world.dispute(opened.id)
    expect(view).toMatchObject({ state: 'running', turn: 'accused', moves: ['Answer-Stages'], position: 5 })
    const own = await wrongWeight(trial)
    const played = await trial.play(opened.id, own, accused!)
    expect(['refuted', 'abandoned']).toContain(played.view.state)
    expect(trial.world.account(accused!.miner.address)).toBe(before + DISPUTE_BOND / 2n)
    expect(trial.world.account(challenger)).toBe(1_000n * APUS - DISPUTE_BOND)
    await trial.finish()
    expect(trial.world.job(trial.job).seats.every(s => s.slashed === undefined)).toBe(true)
  })

  it('keeps its stake bound, and the job open, while a dispute is open', async () => {
    const { trial, seats } = await agreedTrial()
    const challenger = await outsider(trial, 'slow one')
    const opened = await openAt(trial, challenger, seats[0]!, { Page: 0 })
    const { miner } = seats[0]!
    const free =
      BigInt(trial.world.miner(miner.address).stake) - BigInt(trial.world.miner(miner.address).locked)
    expect((await miner.act('Unstake', { Quantity: String(free + 1n) })).code).toBe('stake-locked')
    for (const side of ['accused', 'challenger', 'accused', 'challenger']) {
      await trial.world.pass(330_000)
      const view = trial.world.dispute(opened.id)
      expect(view.turn).toBe(side)
      const move =
        side === 'accused'
          ? accusedAnswer(view, trial.honest)
          : view.moves?.includes('Pick-Row')
            ? { action: 'Pick-Row' as const, tags: { Dispute: opened.id, Row: '4' } }
            : {
                action: 'Pick-Operation' as const,
                tags: { Dispute: opened.id, Stage: '1', Operation: '6' },
              }
      expect((await trial.send(side === 'accused' ? miner.address : challenger, move)).code).toBeUndefined()
    }
    expect(trial.networkTime()).toBeGreaterThan(trial.world.job(trial.job).finalAt!)
    expect(trial.world.job(trial.job).state).toBe('agreed')
    expect(BigInt(trial.world.miner(miner.address).locked)).toBeGreaterThanOrEqual(BOND)
    await trial.finish()
    expect(trial.world.job(trial.job).state).toBe('settled')
    expect(trial.world.miner(miner.address).locked).toBe('0')
  })
})

describe('many disputes of one accused', () => {
  it('run four at a time, cost more the more wait, serve the kept answers, and end with the first proof', async () => {
    const { trial, liar, honest } = await heldTrial()
    const { world } = trial
    const accomplice = await outsider(trial, 'accomplice', 2_000n * APUS)
    const ids: string[] = []
    for (let i = 0; i < 6; i++) ids.push((await openAt(trial, accomplice, liar, { Position: 3 })).id)
    expect(ids.map(id => world.dispute(id).state)).toEqual([
      ...Array(4).fill('running'),
      'waiting',
      'waiting',
    ])
    expect(world.dispute(ids[5]!).bond).toBe(String((DISPUTE_BOND * 5n) / 4n))
    expect(
      (await trial.send(accomplice, { action: 'Pick-Row', tags: { Dispute: ids[4]!, Row: '0' } })).code,
    ).toBe('dispute-waits')
    const real = await trial.accuse(honest.miner.address, liar, honest.run, liar.run)
    expect(real.code).toBeUndefined()
    expect(world.dispute(real.id)).toMatchObject({ state: 'waiting', bond: String(DISPUTE_BOND) })
    // One answer serves all four that ask the same question, and no second one is taken.
    const first = world.dispute(ids[0]!)
    expect((await trial.send(liar.miner.address, accusedAnswer(first, liar.run))).code).toBeUndefined()
    for (const id of ids.slice(0, 4)) {
      expect(world.dispute(id).turn).toBe('challenger')
      const again = {
        ...accusedAnswer(first, liar.run),
        tags: { Dispute: id, Job: trial.job, Position: '3' },
      }
      expect((await trial.send(liar.miner.address, again)).code).toBe('not-your-move')
    }
    // The accomplice stalls in all four until its time is over; a seat with another root goes before the other two.
    await world.pass(11 * 60_000)
    expect(ids.slice(0, 4).map(id => world.dispute(id).state)).toEqual(Array(4).fill('abandoned'))
    expect(world.dispute(real.id).state).toBe('running')
    // What was answered for position 3 serves the later ones at once.
    expect(world.dispute(ids[4]!)).toMatchObject({
      state: 'running',
      turn: 'challenger',
      moves: ['Pick-Operation'],
    })
    const played = await trial.play(real.id, honest.run, liar)
    expect(played.view.state).toBe('proven')
    expect(ids.slice(4).map(id => world.dispute(id).state)).toEqual(['moot', 'moot'])
    expect(world.entry('evidence', `${trial.job}.${liar.miner.address}.stages.3`)).toBe('')
    expect(world.account(accomplice)).toBe(2_000n * APUS - 4n * DISPUTE_BOND)
    expect((await openAt(trial, accomplice, liar, { Position: 3 })).code).toBe('already-convicted')
    await trial.finish()
    expect(world.job(trial.job).state).toBe('settled')
  })
})

describe('all seats agree on a lie', () => {
  it('and a late outsider convicts every seat: the requester gets everything back', async () => {
    const trial = await Trial.open()
    const lie = await wrongWeight(trial)
    const seats = await trial.compute(lie, undefined, 3)
    const { world, job } = trial
    expect(world.job(job).state).toBe('agreed')
    const late = await outsider(trial, 'late one')
    await world.pass(15 * 60_000)
    const spent = world.balance(trial.cast.requester) + world.account(trial.cast.requester)
    for (const seat of seats) {
      expect(
        (await seat.miner.act('Withdraw', { Quantity: String(world.account(seat.miner.address)) })).code,
      ).toBeUndefined()
      const opened = await trial.accuse(late, seat, trial.honest, lie)
      expect((await trial.play(opened.id, trial.honest, seat)).view.state).toBe('proven')
    }
    expect(world.job(job)).toMatchObject({ state: 'refunded', code: 'all-convicted' })
    const wages = (BASE_PRICE + TOKEN_PRICE * BigInt(lie.tokens.length)) * 3n
    const back = world.balance(trial.cast.requester) + world.account(trial.cast.requester) - spent
    expect(back).toBe(wages + 3n * SEAT_PRICE)
    expect(world.account(late)).toBe(1_000n * APUS + (3n * BOND * 3n) / 10n)
  })
})
