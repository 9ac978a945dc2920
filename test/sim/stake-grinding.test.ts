import type { Address, JobId } from '@apus/shared/protocol'
import { describe, expect, it } from 'vitest'
import { drawSeats, seatSeed } from '../../shared/src/protocol/seat.ts'
import { BalanceSheet, told } from '../support/balance-sheet.ts'
import { APUS, addressOf, digestOf, type Outcome } from '../support/contracts.ts'
import {
  type Cast,
  commitAll,
  JOB_TAGS,
  Miner,
  MODEL,
  peerOf,
  revealAll,
  SEAT_PRICE,
  SIGNATURE,
  setUp,
  tick,
  WAGE,
} from '../support/contracts-cast.ts'

const MINUTE = 60_000
const REDUNDANCY = 2
const PRICE = SEAT_PRICE * BigInt(REDUNDANCY + 1)
const TRIES = 8
const STAKE = 5_000n * APUS

/** A purse that pays for jobs and owns a miner, which it would like to see in every seat. */
class Grinder {
  readonly cast: Cast
  readonly purse: string
  readonly own: Miner
  readonly jobs: string[] = []
  constructor(cast: Cast) {
    this.cast = cast
    this.purse = cast.requester
    this.own = cast.miners[0]!
  }

  async submit(id?: string): Promise<string> {
    const { world } = this.cast
    const tags = { ...JOB_TAGS, 'X-Redundancy': String(REDUNDANCY) }
    const sent = await world.raw({
      from: this.purse,
      process: world.network,
      tags: { Action: 'Submit-Job', ...tags } as Record<string, string>,
      data: 'hi',
      ...(id ? { id } : {}),
    })
    expect(sent.code).toBeUndefined()
    this.jobs.push(sent.id)
    return sent.id
  }

  /** Sends anything from the purse to the network. */
  send(action: string, tags: Record<string, string> = {}): Promise<Outcome> {
    return this.cast.world.send(this.purse, this.cast.world.network, action, tags)
  }

  cancel(job: string): Promise<Outcome> {
    return this.send('Cancel-Job', { Job: job })
  }

  seats(job: string): readonly string[] {
    return this.cast.world.job(job).seats.map(seat => seat.miner)
  }
}

/** The draw that the roster at Submit and a hash chain give. */
const drawOf = (cast: Cast, job: string, hashChain: string): string[] =>
  drawSeats(
    seatSeed(hashChain, job as JobId, 0),
    cast.miners.map(m => ({ miner: m.address as Address, weight: Number(STAKE / APUS) })),
    REDUNDANCY,
  )

/** What a grinder tries with one job; what it got for it is checked afterwards. */
const grinders: Readonly<Record<string, (grinder: Grinder) => Promise<void>>> = {
  'submits and cancels until the draw suits it': async grinder => {
    for (let i = 0; i < TRIES; i++) {
      const job = await grinder.submit()
      // The cancellation is itself the message whose hash chain draws the seats.
      expect((await grinder.cancel(job)).code).toBe('too-late-to-cancel')
      expect(grinder.seats(job)).toHaveLength(REDUNDANCY)
    }
  },
  'stakes once the hash chain is known': async grinder => {
    const { world } = grinder.cast
    const job = await grinder.submit()
    const late = new Miner(world, addressOf('late'))
    world.delivering = false
    await world.send(grinder.purse, world.token, 'Transfer', {
      Recipient: late.address,
      Quantity: String(STAKE),
    })
    await world.pay(late.address, STAKE, 'Stake')
    world.delivering = true
    await world.deliver()
    await late.act('Register', {
      'Peer-Id': peerOf('late'),
      'Node-Signature': SIGNATURE,
      Expires: String(world.now + 1e10),
    })
    await late.act('Serve', {}, JSON.stringify([MODEL]))
    expect(grinder.seats(job)).not.toContain(late.address)
    expect((await late.commit(job)).code).toBe('no-seat')
  },
  'inserts messages of no use before the draw': async grinder => {
    const { world } = grinder.cast
    for (let i = 0; i < TRIES; i++) {
      const job = await grinder.submit()
      // To the token it may say what it likes: the network draws by the first message that reaches the network.
      for (let n = 0; n < 3; n++) await world.send(grinder.purse, world.token, 'Info')
      const refused = await grinder.send('Nonsense')
      expect(refused.code).toBe('unknown-action')
      const drawn = drawOf(grinder.cast, job, world.hashChain)
      expect(grinder.seats(job)).toEqual(drawn)
      for (let n = 0; n < 3; n++) await grinder.send('Nonsense')
      expect(grinder.seats(job)).toEqual(drawn)
    }
  },
  'signs its messages anew for other ids': async grinder => {
    const { world } = grinder.cast
    const wanted = grinder.own.address
    for (let i = 0; i < TRIES; i++) {
      // By the chain that it knows, its own miner would have the first seat: by the next one that is left to chance.
      const ids = Array.from({ length: 99 }, (_, n) => digestOf(`grind ${i} ${n}`))
      const id = ids.find(candidate => drawOf(grinder.cast, candidate, world.hashChain)[0] === wanted)
      const job = await grinder.submit(id)
      await tick(grinder.cast)
      expect(grinder.seats(job)).toEqual(drawOf(grinder.cast, job, world.hashChain))
    }
    const first = grinder.jobs.map(job => grinder.seats(job)[0])
    expect(first.filter(who => who === wanted).length).toBeLessThan(TRIES)
  },
}

describe('who', () => {
  for (const [name, grind] of Object.entries(grinders))
    it(`${name} pays for every job and gets the seats that chance gives`, async ({ annotate }) => {
      const cast = await setUp({ miners: 5, stake: STAKE })
      const { world } = cast
      await world.pay(cast.requester, PRICE * BigInt(TRIES), 'Deposit')
      const grinder = new Grinder(cast)
      const honest = cast.miners.slice(1).map(m => m.address)
      const sheet = new BalanceSheet(world, {
        hostile: [grinder.purse, grinder.own.address, addressOf('late')],
        honest,
      })
      await grind(grinder)
      for (const job of grinder.jobs) {
        await tick(cast)
        await commitAll(cast, job)
        await revealAll(cast, job)
      }
      await world.pass(21 * MINUTE)
      for (const job of grinder.jobs) expect(world.job(job).state).toBe('settled')
      const figures = sheet.close()
      const wages = honest.reduce((sum, who) => sum + sheet.gain(who), 0n)
      // What it paid is what the others earned: its own seats only moved its money from one pocket to the other.
      expect(figures.hostile).toBe(-wages)
      expect(wages % WAGE).toBe(0n)
      expect(wages).toBeGreaterThan(0n)
      await annotate(told(figures))
    })
})
