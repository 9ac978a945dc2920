import { accusedAnswer, type DisputeMessage } from '@apus/shared/dispute'
import { bundleLayout, decodeManifest } from '@apus/shared/machine'
import type { DisputeView } from '@apus/shared/protocol'
import { afterAll, describe, expect, it } from 'vitest'
import { BalanceSheet } from '../support/balance-sheet.ts'
import { APUS, addressOf } from '../support/contracts.ts'
import { BASE_PRICE, seated, TOKEN_PRICE, tick } from '../support/contracts-cast.ts'
import { inApus, printTable } from '../support/dispute/docket.ts'
import { flipBit } from '../support/dispute/flip.ts'
import { resultOf } from '../support/dispute/play.ts'
import { type Side, Trial } from '../support/dispute/trial.ts'

const SECOND = 1_000
const MINUTE = 60 * SECOND
const WAGE = BASE_PRICE + TOKEN_PRICE * 4n
const SEAT_PRICE = WAGE
const BOND = SEAT_PRICE * 25n
const DISPUTE_BOND = SEAT_PRICE * 3n
const REWARD = (BOND * 3n) / 10n
const PURSE = 100n * APUS
const accomplice = addressOf('accomplice')

interface Plot {
  readonly trial: Trial
  readonly liar: Side
  readonly honest: readonly Side[]
  /** Books of all: liars, accomplice and perhaps the requester against the rest. */
  readonly sheet: BalanceSheet
}

const wrongWeight = (trial: Trial, bit = 6) => {
  const layout = bundleLayout(decodeManifest(trial.bundle.leaf(0)))
  return trial.run(flipBit(trial.bundle, layout.layers[1]!.gateUp.first, 3, bit))
}

/** A job of two seats and an audit seat, of which the first `liars` say the same wrong thing. */
async function plot({ liars = 1, requester = false } = {}): Promise<Plot> {
  const trial = await Trial.open({ purse: PURSE, parameters: { disputeWindow: 200 * MINUTE } })
  const { world, cast } = trial
  for (const miner of cast.miners) await world.pay(miner.address, PURSE, 'Deposit')
  await world.send(cast.requester, world.token, 'Transfer', {
    Recipient: accomplice,
    Quantity: String(PURSE),
  })
  await world.pay(accomplice, PURSE, 'Deposit')
  const hostile = [...seated(cast, trial.job).map(miner => miner.address)].slice(0, liars)
  if (liars > 2) hostile.push(...cast.miners.map(m => m.address).filter(m => !hostile.includes(m)))
  const sheet = new BalanceSheet(world, {
    hostile: [...hostile, accomplice, ...(requester ? [cast.requester] : [])],
    honest: cast.miners.map(m => m.address).filter(m => !hostile.includes(m)),
    customers: requester ? [] : [cast.requester],
  })
  const lie = await wrongWeight(trial)
  const sides = await trial.computeWith(Array.from({ length: liars }, () => lie))
  return { trial, liar: sides[0]!, honest: sides.slice(liars), sheet }
}

/** Opens for somebody at a position, with the prompt shown. */
async function openAt({ trial, liar }: Plot, by: string, position: number): Promise<string> {
  const { prompt } = (await trial.openingOf(liar, liar)).data as { prompt: unknown }
  const tags = { Job: trial.job, Accused: liar.miner.address, Position: String(position) }
  const { id, code } = await trial.send(by, { action: 'Open-Dispute', tags, data: { prompt } })
  expect(code).toBeUndefined()
  return id
}

/** The honest seat convicts with nothing but its own run. */
async function convict({ trial, liar, honest }: Plot, accused = liar): Promise<void> {
  const prover = honest[0]!
  const opened = await trial.accuse(prover.miner.address, accused, prover.run)
  expect(opened.code).toBeUndefined()
  while (trial.world.dispute(opened.id).state === 'waiting') await trial.world.pass(2 * MINUTE)
  expect((await trial.play(opened.id, prover.run, accused)).view.state).toBe('proven')
}

const isOver = (view: DisputeView) => view.state !== 'running' && view.state !== 'waiting'

/** Accused and accomplice each move at the end of their clock, and the accomplice picks what leads nowhere. */
async function stall({ trial, liar }: Plot, ids: readonly string[]): Promise<void> {
  const { world } = trial
  const idle = (view: DisputeView): DisputeMessage => {
    const action = view.moves![0]!
    const tags = { Dispute: view.id, Stage: '0', Operation: '0', Node: '0', Row: '0', Chunk: '0' }
    return { action, tags, data: { inputs: [] } }
  }
  for (let left = ids; left.length > 0; left = left.filter(id => !isOver(world.dispute(id)))) {
    const before = Math.min(...left.map(id => world.dispute(id).deadline ?? Number.POSITIVE_INFINITY))
    await world.pass(Math.max(1, before - trial.networkTime() - SECOND))
    for (const view of left.map(id => world.dispute(id))) {
      if (isOver(view)) continue
      const own = view.turn === 'accused'
      await trial.send(
        own ? liar.miner.address : view.challenger,
        own ? accusedAnswer(view, liar.run) : idle(view),
      )
    }
    await world.pass(2 * SECOND)
  }
}

interface Conspiracy {
  readonly name: string
  readonly liars?: number
  readonly requester?: boolean
  readonly plays: (plot: Plot) => Promise<void>
  /** What all the hostile gain together, and each honest seat, wages included. */
  readonly net: bigint
  readonly honest: readonly bigint[]
}

const CONSPIRACIES: readonly Conspiracy[] = [
  {
    name: 'a shield of four disputes, on the wrong position and on the right one, stalled at every turn',
    plays: async found => {
      const ids: string[] = []
      for (const position of [2, 2, 6, 6]) ids.push(await openAt(found, accomplice, position))
      const { trial, honest, liar } = found
      const own = await trial.accuse(honest[0]!.miner.address, liar, honest[0]!.run)
      expect(trial.world.dispute(own.id).state).toBe('waiting')
      await stall(found, ids)
      expect(trial.world.dispute(own.id).state).toBe('running')
      expect((await trial.play(own.id, honest[0]!.run, liar)).view.state).toBe('proven')
    },
    // Half of each shield's bond comes back to the liar, its accused.
    net: -BOND - (4n * DISPUTE_BOND) / 2n,
    honest: [WAGE + REWARD, WAGE],
  },
  {
    name: 'a shield that loses on purpose first, and acquits of nothing',
    plays: async found => {
      const { trial, liar } = found
      const thrown = await trial.play(await openAt(found, accomplice, 3), liar.run, liar)
      expect(['refuted', 'abandoned']).toContain(thrown.view.state)
      await convict(found)
    },
    net: -BOND - DISPUTE_BOND / 2n,
    honest: [WAGE + REWARD, WAGE],
  },
  {
    name: 'a liar who serves its leaves to its accomplice only',
    plays: async found => {
      const { trial, liar } = found
      const opened = await trial.accuse(accomplice, liar, trial.honest, liar.run)
      const played = await trial.play(opened.id, trial.honest, liar, {
        tamper: (_, message) => (message.action === 'Prove-Step' ? undefined : message),
      })
      expect(played.view.state).toBe('abandoned')
      await convict(found)
    },
    net: -BOND - DISPUTE_BOND / 2n,
    honest: [WAGE + REWARD, WAGE],
  },
  {
    name: 'a sniper that comes too late',
    plays: async found => {
      const { trial, liar } = found
      const opened = await trial.accuse(accomplice, liar, trial.honest, liar.run)
      await convict(found)
      expect(trial.world.dispute(opened.id).state).toBe('moot')
    },
    net: -BOND,
    honest: [WAGE + REWARD, WAGE],
  },
  {
    name: 'a sniper that copies every pick and proves first',
    plays: async found => {
      const { trial, liar, honest } = found
      const real = await trial.accuse(honest[0]!.miner.address, liar, trial.honest, liar.run)
      const copy = await trial.accuse(accomplice, liar, trial.honest, liar.run)
      await trial.play(real.id, trial.honest, liar, {
        stall: true,
        tamper: (_, message) => (message.action === 'Prove-Step' ? undefined : message),
      })
      const sniped = await trial.play(copy.id, trial.honest, liar)
      expect(sniped.view.state).toBe('proven')
      expect(trial.world.dispute(real.id).state).toBe('moot')
    },
    net: -BOND + REWARD,
    honest: [WAGE, WAGE],
  },
  {
    name: 'two colluding seats, one of which accuses the honest seat',
    liars: 2,
    plays: async found => {
      const { trial, honest } = found
      const [liar, second] = [...trial.sides.values()]
      const opened = await trial.accuse(second!.miner.address, honest[0]!, second!.run)
      const played = await trial.play(opened.id, second!.run, honest[0]!)
      expect(['refuted', 'abandoned']).toContain(played.view.state)
      await convict(found, liar!)
      await convict(found, second!)
    },
    net: -2n * BOND - DISPUTE_BOND,
    honest: [WAGE + 2n * REWARD + DISPUTE_BOND / 2n],
  },
  {
    name: 'a seat that shields another one, whose root is the same',
    liars: 2,
    plays: async found => {
      const { trial } = found
      const [liar, second] = [...trial.sides.values()]
      const ids: string[] = []
      for (const position of [1, 5, 6]) ids.push(await openAt(found, second!.miner.address, position))
      await convict(found, liar!)
      expect(ids.map(id => trial.world.dispute(id).state)).toEqual(['moot', 'moot', 'moot'])
      await convict(found, second!)
    },
    net: -2n * BOND,
    honest: [WAGE + 2n * REWARD],
  },
  {
    name: 'requester, liar and challenger in one purse',
    requester: true,
    plays: async found => {
      const { trial, liar } = found
      const opened = await trial.accuse(accomplice, liar, trial.honest)
      expect((await trial.play(opened.id, trial.honest, liar)).view.state).toBe('proven')
    },
    net: -2n * WAGE - (BOND - REWARD - SEAT_PRICE),
    honest: [WAGE, WAGE],
  },
]

const rows: object[] = []
afterAll(() => printTable(rows))

describe('accomplices lose together:', () => {
  for (const { name, liars, requester, plays, net, honest } of CONSPIRACIES) {
    it(name, async () => {
      const found = await plot({ ...(liars ? { liars } : {}), ...(requester ? { requester } : {}) })
      const { trial, sheet } = found
      await plays(found)
      await trial.finish()
      const figures = sheet.close()
      expect(figures.hostile).toBe(net)
      expect(found.honest.map(side => sheet.gain(side.miner.address))).toEqual(honest)
      const seats = trial.world.job(trial.job).seats.filter(s => s.slashed !== undefined)
      expect(seats.map(s => s.slashed)).toEqual(Array.from({ length: liars ?? 1 }, () => String(BOND)))
      const { messages, bytes } = figures
      rows.push({ actor: name, net: inApus(net), honest: honest.map(inApus).join(' '), messages, bytes })
    })
  }

  it('all seats collude, and one late outsider convicts them all', async () => {
    const found = await plot({ liars: 3 })
    const { trial, sheet } = found
    const { world } = trial
    await world.pass(150 * MINUTE)
    for (const seat of trial.sides.values()) {
      const opened = await trial.accuse(accomplice, seat, trial.honest)
      expect((await trial.play(opened.id, trial.honest, seat)).view.state).toBe('proven')
    }
    await trial.finish()
    expect(world.job(trial.job)).toMatchObject({ state: 'refunded', code: 'all-convicted' })
    const figures = sheet.close()
    // The outsider stands among the hostile here: it has won three rewards, they have lost three bonds.
    expect(sheet.gain(accomplice)).toBe(3n * REWARD)
    expect(figures.hostile).toBe(-3n * BOND + 3n * REWARD)
    rows.push({ actor: 'all seats collude', net: inApus(figures.hostile), honest: inApus(3n * REWARD) })
  })

  it('a requester with a silent seat: the answer is paid, silence costs the bond', async () => {
    const trial = await Trial.open({ purse: PURSE })
    const { world, cast, job } = trial
    const [silent] = seated(cast, job)
    const hostile = [silent!.address, cast.requester]
    const honest = cast.miners.map(m => m.address).filter(m => m !== silent!.address)
    const sheet = new BalanceSheet(world, { hostile, honest })
    const result = trial.resultOf(trial.honest, resultOf(trial.honest))
    for (let i = 0; i < 40 && world.job(job).state !== 'revealing'; i++) {
      const [next] = seated(cast, job)
      if (next) await next.commit(job, result)
      else await tick(cast)
    }
    for (const miner of seated(cast, job, ['committed']))
      if (miner !== silent) await miner.reveal(job, result)
    await world.pass(100 * MINUTE)
    await trial.finish()
    expect(world.job(job).state).toBe('settled')
    const paid = world.job(job).seats.filter(s => s.paid !== undefined)
    expect(paid.map(s => s.paid)).toEqual([String(WAGE), String(WAGE)])
    const figures = sheet.close()
    expect(figures.hostile).toBe(-2n * WAGE - BOND + SEAT_PRICE)
    rows.push({ actor: 'a requester with a silent seat', net: inApus(figures.hostile), honest: inApus(WAGE) })
  })

  it('jobs dealt to oneself for standing: each point costs the wages of others and is won by work', async () => {
    const first = await Trial.open({ miners: 3 })
    const { world, cast } = first
    const own = cast.miners.slice(0, 2).map(m => m.address)
    const other = cast.miners[2]!.address
    const sheet = new BalanceSheet(world, { hostile: [...own, cast.requester], honest: [other] })
    for (let i = 0; i < 3; i++) {
      const trial = i === 0 ? first : await Trial.submit(cast, first.bundle)
      await trial.compute()
      await trial.finish()
    }
    const figures = sheet.close()
    expect(figures.hostile).toBe(-3n * WAGE)
    expect(figures.others).toEqual([3n * WAGE])
    for (const address of own) expect(world.miner(address).standing).toBe(3)
    rows.push({ actor: 'jobs dealt to oneself', net: inApus(figures.hostile), honest: inApus(3n * WAGE) })
  })
})
