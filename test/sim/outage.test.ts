import { accusedAnswer, type DisputeMessage } from '@apus/shared/dispute'
import { bundleLayout, decodeManifest } from '@apus/shared/machine'
import type { DisputeView } from '@apus/shared/protocol'
import { describe, expect, it } from 'vitest'
import { BalanceSheet, told } from '../support/balance-sheet.ts'
import { APUS, addressOf, type World } from '../support/contracts.ts'
import { BASE_PRICE, TOKEN_PRICE } from '../support/contracts-cast.ts'
import { flipBit } from '../support/dispute/flip.ts'
import { type Side, Trial } from '../support/dispute/trial.ts'
import { workSeats } from '../support/dispute/work-seats.ts'

const HOUR = 3_600_000
const YEAR = 365 * 24 * HOUR
const WAGE = BASE_PRICE + TOKEN_PRICE * 4n
const BOND = WAGE * 25n
const DISPUTE_BOND = WAGE * 3n

const hostile = addressOf('hostile')

const lieOf = (trial: Trial) => {
  const layout = bundleLayout(decodeManifest(trial.bundle.leaf(0)))
  return trial.run(flipBit(trial.bundle, layout.layers[1]!.gateUp.first, 3, 6))
}

type Send = World['raw']

/** The scheduler is away for ten hours before every message, and the first after it is not the one that is waited for. */
const outages =
  (world: World, raw: Send): Send =>
  async message => {
    if (message.owner === undefined) {
      world.now += 10 * HOUR
      await raw({ from: hostile, process: world.network, tags: { Action: 'Tick', Limit: '16' } })
    }
    return raw(message)
  }

/** Every message has the timestamp that the scheduler invents for it. */
const timestamps =
  (next: (last: number) => number) =>
  (world: World, raw: Send): Send => {
    let last = world.now
    return message => {
      last = next(last)
      return raw({ ...message, timestamp: last })
    }
  }

const weathers: Readonly<Record<string, (world: World, raw: Send) => Send>> = {
  'an outage of ten hours in every turn, a hostile Tick first,': outages,
  'timestamps that stand still': timestamps(last => last),
  'timestamps that run backwards': timestamps(last => last - HOUR),
  'timestamps a year ahead, each,': timestamps(last => last + YEAR),
}

/** Somebody who asks as often as it can, and has nothing to prove. */
function picked({ id, moves = [], stage = 0 }: DisputeView): DisputeMessage | undefined {
  const tags = { Dispute: id, Stage: String(stage) }
  if (moves.includes('Pick-Stage')) return { action: 'Pick-Stage', tags }
  if (moves.includes('Pick-Operation')) return { action: 'Pick-Operation', tags: { ...tags, Operation: '0' } }
  return undefined
}

/** The honest seat answers every question until only a proof is left to give. */
async function answerAll(trial: Trial, id: string, accused: Side): Promise<void> {
  const said: string[] = []
  for (;;) {
    const view = trial.world.dispute(id)
    const own = view.turn === 'accused'
    const message = own ? accusedAnswer(view, accused.run) : picked(view)
    if (!message) break
    said.push(message.action)
    expect((await trial.send(own ? view.accused : hostile, message)).code).toBeUndefined()
  }
  expect(said.at(-1)).toBe('Answer-Chunks')
}

describe('through', () => {
  for (const [name, weather] of Object.entries(weathers))
    it(`${name} an honest seat loses no dispute and a liar does`, async ({ annotate }) => {
      const trial = await Trial.open({ miners: 4 })
      const { world, cast } = trial
      const units = 100n * APUS
      await world.send(cast.requester, world.token, 'Transfer', {
        Recipient: hostile,
        Quantity: String(units),
      })
      await world.pay(hostile, units, 'Deposit')
      const lie = await lieOf(trial)
      const liar = world.job(trial.job).seats[0]!.miner as string
      const honest = cast.miners.map(m => m.address).filter(who => who !== liar)
      const sheet = new BalanceSheet(world, { hostile: [liar, hostile], honest, customers: [cast.requester] })
      const raw = world.raw.bind(world)
      world.raw = weather(world, raw)
      await workSeats(trial, { runOf: ({ address }) => (address === liar ? lie : trial.honest) })
      const accused = trial.sides.get(liar)!
      const [seat] = [...trial.sides.values()].filter(side => side !== accused)
      const { data } = await trial.openingOf(seat!, seat!)
      const attack = await trial.send(hostile, {
        action: 'Open-Dispute',
        tags: { Job: trial.job, Accused: seat!.miner.address, Position: '5' },
        data,
      })
      expect(attack.code).toBeUndefined()
      await answerAll(trial, attack.id, seat!)
      const opened = await trial.accuse(seat!.miner.address, accused, trial.honest)
      expect(opened.code).toBeUndefined()
      expect((await trial.play(opened.id, trial.honest, accused)).view.state).toBe('proven')
      world.raw = raw
      await trial.finish()
      expect(world.dispute(attack.id).state).toBe('abandoned')
      const figures = sheet.close()
      expect(figures.hostile).toBe(-BOND - DISPUTE_BOND)
      await annotate(told(figures))
    })
})
