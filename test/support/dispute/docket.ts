import type { DisputeMessage } from '@apus/shared/dispute'
import type { DisputeView } from '@apus/shared/protocol'
import type { Replay } from '@apus/shared/replay'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { worth } from '../balance-sheet.ts'
import { APUS, type World } from '../contracts.ts'
import { BASE_PRICE, setUp, TOKEN_PRICE } from '../contracts-cast.ts'
import { randomBundle } from '../machine/random-model.ts'
import { type Claim, type Side, TRIAL_SHAPE, Trial, type TrialOptions } from './trial.ts'

const MINUTE = 60_000
const MAX_MESSAGE_BYTES = 65_536
/** Messages of a dispute from its opening to its proof, and when lists are withheld. */
const MAX_MESSAGES = 8
const MAX_MESSAGES_WITHHELD = 12
/** Bonds of disputes come from here; every miner has it besides its stake. */
const PURSE = 200n * APUS

export interface Liar {
  readonly name: string
  /** What it computes and reveals. */
  readonly lies: (trial: Trial) => Replay | Claim | Promise<Replay | Claim>
  /** Whether the challenger has its leaves; else it must show them in the dispute. */
  readonly shows?: boolean
  /** What it sends instead of what it owes. */
  readonly answers?: (view: DisputeView, owed: DisputeMessage, trial: Trial) => DisputeMessage | undefined
  /** `moot`: a proof in one message ended the dispute. `at once`: it needed none. */
  readonly verdict: 'proven' | 'silent' | 'moot' | 'at once'
  /** Codes with which what it sent was refused. */
  readonly refused?: readonly string[]
}

/** Amounts in APUS; everybody else gains nothing and loses nothing. */
interface Row {
  readonly actor: string
  readonly verdict: string
  readonly net: string
  readonly prover: string
  readonly requester: string
  readonly messages: number
  readonly bytes: number
  readonly largest: number
}

/** What everybody owns but for what seats are paid, so that only disputes change it. */
export class Purses {
  readonly #world: World
  readonly #of: ReadonlyMap<string, bigint>
  readonly #gone: bigint

  constructor(world: World) {
    this.#world = world
    const { token, network } = world.published
    const lists = [token.balances, network.accounts, network.miners].map(list => Object.keys(list ?? {}))
    const everybody = new Set(lists.flat().filter(address => address !== world.network))
    this.#of = new Map(
      [...everybody].map(address => [address, worth(world, address) + wages(world, address)]),
    )
    const { burnt, burning } = world.totals()
    this.#gone = BigInt(burnt) + BigInt(burning)
  }

  /** What everybody has gained since; together with what was burnt it is nothing. */
  gains(): ReadonlyMap<string, bigint> {
    const now = new Purses(this.#world)
    const gains = new Map([...now.#of].map(([who, units]) => [who, units - (this.#of.get(who) ?? 0n)]))
    const sum = [...gains.values()].reduce((a, b) => a + b, 0n)
    expect(sum + now.#gone - this.#gone, 'nothing comes from nowhere').toBe(0n)
    return gains
  }
}

/** What an address has paid to seats, less what its own seats were paid. */
function wages(world: World, address: string): bigint {
  const jobs = Object.keys((world.published.network.jobs ?? {}) as object).map(id => world.job(id))
  return jobs
    .flatMap(job =>
      job.seats.map(seat => {
        const paid = BigInt(seat.paid ?? '0')
        return (job.requester === address ? paid : 0n) - (seat.miner === address ? paid : 0n)
      }),
    )
    .reduce((a, b) => a + b, 0n)
}

export const inApus = (units: bigint): string => (Number(units / 10n ** 6n) / 10 ** 6).toFixed(3)

/** One job with a seat for each liar and two honest ones; each liar is tried on its own, in any order. */
class Docket {
  readonly trial: Trial
  readonly rows: Row[] = []
  readonly #liars: ReadonlyMap<Liar, Side>
  readonly #honest: readonly Side[]
  readonly #seatPrice: bigint
  #tried = 0

  private constructor(trial: Trial, liars: ReadonlyMap<Liar, Side>, honest: readonly Side[], price: bigint) {
    this.trial = trial
    this.#liars = liars
    this.#honest = honest
    this.#seatPrice = price
  }

  static async open(liars: readonly Liar[], options: TrialOptions): Promise<Docket> {
    const shape = options.shape ?? TRIAL_SHAPE
    const bundle = randomBundle(shape, options.seed ?? 1)
    const cast = await setUp({
      miners: liars.length + 2,
      bundle,
      maxContext: shape.context ?? 512,
      purse: PURSE,
      // The disputes are played one after the other, some to the end of a clock.
      parameters: { disputeWindow: 30 * liars.length * MINUTE },
    })
    for (const miner of cast.miners) await cast.world.pay(miner.address, PURSE, 'Deposit')
    const trial = await Trial.submit(cast, bundle, { ...options, redundancy: liars.length + 1 })
    const lies: (Replay | Claim)[] = []
    for (const liar of liars) lies.push(await liar.lies(trial))
    const sides = await trial.computeWith(lies)
    const found = new Map(liars.map((liar, i) => [liar, sides[i] as Side]))
    const price = BASE_PRICE + TOKEN_PRICE * BigInt(options.maxTokens ?? 4)
    return new Docket(trial, found, sides.slice(liars.length), price)
  }

  /** An honest seat accuses the liar, and who gains and loses what is what the law says. */
  async try(liar: Liar): Promise<void> {
    const { trial } = this
    const { world, job } = trial
    const side = this.#liars.get(liar) as Side
    const prover = this.#honest[this.#tried++ % this.#honest.length] as Side
    const purses = new Purses(world)
    const leaves = liar.shows ? side.run : undefined
    const opening = trial.opening(side, prover.run, leaves)
    const opened = await trial.send(prover.miner.address, opening)
    expect(opened.code).toBeUndefined()
    const isOpen = world.entry('disputes', opened.id) !== undefined
    let owed: DisputeMessage | undefined
    const played = isOpen
      ? await trial.play(opened.id, prover.run, side, {
          ...(leaves ? { leaves } : {}),
          tamper: (view, message) => {
            if (view.turn === 'challenger') return message
            owed = message
            return liar.answers ? liar.answers(view, message, trial) : message
          },
        })
      : undefined
    expect(played?.view.state ?? 'at once').toBe(liar.verdict)
    if (owed) expect((await trial.send(side.miner.address, owed)).code).toBe('unknown-dispute')
    expect(played?.refusals ?? []).toEqual(liar.refused ?? [])
    const messages = 1 + (played?.messages.length ?? 0)
    expect(messages).toBeLessThanOrEqual(liar.shows ? MAX_MESSAGES : MAX_MESSAGES_WITHHELD)
    const openingBytes = JSON.stringify(opening.data).length
    const largest = Math.max(openingBytes, played?.largest ?? 0)
    expect(largest).toBeLessThanOrEqual(MAX_MESSAGE_BYTES)

    const bond = this.#seatPrice * 25n
    const seat = world.job(job).seats.find(s => s.miner === side.miner.address)
    expect(seat).toMatchObject({ slashed: String(bond) })
    const gains = purses.gains()
    const { requester } = trial.cast
    const others = [...gains].filter(
      ([who]) => ![side.miner.address, prover.miner.address, requester].includes(who),
    )
    expect(gains.get(side.miner.address)).toBe(-bond)
    expect(gains.get(prover.miner.address)).toBe((bond * 3n) / 10n)
    expect(gains.get(requester)).toBe(this.#seatPrice)
    for (const [who, gain] of others) expect([who, gain]).toEqual([who, 0n])
    this.rows.push({
      actor: liar.name,
      verdict: liar.verdict,
      net: inApus(-bond),
      prover: inApus((bond * 3n) / 10n),
      requester: inApus(this.#seatPrice),
      messages,
      bytes: openingBytes + (played?.bytes ?? 0),
      largest,
    })
  }

  /** The job ends: honest seats have their wage, liars none, and who was convicted once is not convicted again. */
  async close(): Promise<void> {
    const { trial } = this
    const { world, job } = trial
    for (const side of this.#liars.values()) {
      const again = await trial.accuse(this.#honest[0]?.miner.address ?? '', side, trial.honest)
      expect(again.code).toBe('already-convicted')
    }
    await trial.finish()
    const { state, seats } = world.job(job)
    expect(state).toBe('settled')
    const wage = BASE_PRICE + TOKEN_PRICE * BigInt(trial.honest.tokens.length)
    const honest = this.#honest.map(side => side.miner.address)
    for (const seat of seats) {
      expect(seat.paid).toBe(honest.includes(seat.miner) ? String(wage) : undefined)
      expect(seat.slashed !== undefined).toBe(!honest.includes(seat.miner))
      expect(world.miner(seat.miner).locked).toBe('0')
    }
    expect(world.totals()).toMatchObject({ escrow: '0', pending: '0', bonds: String(100n * APUS) })
  }
}

/** A suite: each liar is convicted in its own test, then the job they share ends as it must. */
export function convicts(title: string, liars: readonly Liar[], options: TrialOptions = {}): void {
  describe(title, () => {
    let docket: Docket
    beforeAll(async () => {
      docket = await Docket.open(liars, options)
    })
    for (const liar of liars) it(liar.name, () => docket.try(liar))
    it('and the honest seats have their wage, nobody else lost or won', () => docket.close())
    afterAll(() => printTable(docket?.rows))
  })
}

/** Prints what was measured when it is asked for. */
export function printTable(rows: readonly object[] | undefined): void {
  if (process.env.APUS_TABLE && rows) console.table(rows)
}
