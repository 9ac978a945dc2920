import { describe, expect, it } from 'vitest'
import { BalanceSheet, told } from '../support/balance-sheet.ts'
import {
  type Cast,
  HONEST,
  LIE,
  type Miner,
  SEAT_PRICE,
  seated,
  setUp,
  submit,
  tick,
  WAGE,
} from '../support/contracts-cast.ts'

const MINUTE = 60_000
const SECOND = 1_000
const GRACE = 60 * MINUTE
const BOND = SEAT_PRICE * 25n
const FEE = SEAT_PRICE / 10n

interface LastLooker {
  /** What it committed to before it looked at what the others reveal. */
  readonly committed: typeof HONEST
  /** What it does after all others have revealed; the code that it gets. */
  readonly play: (cast: Cast, job: string, looker: Miner) => Promise<string | undefined>
  readonly code: string | undefined
  readonly loses: bigint
}

const untilEnd = async (cast: Cast, job: string, left: number) => {
  await tick(cast)
  await cast.world.pass(10 * MINUTE)
  expect(cast.world.job(job).state).toBe('agreed')
  await cast.world.pass(GRACE - left)
}

const actors: Readonly<Record<string, LastLooker>> = {
  'sees that its lie would stand alone and never reveals': {
    committed: LIE,
    play: async () => undefined,
    code: undefined,
    loses: BOND,
  },
  'reveals the truth in the last second of the grace': {
    committed: HONEST,
    play: async (cast, job, looker) => {
      await untilEnd(cast, job, 2 * SECOND)
      return (await looker.reveal(job)).code
    },
    code: undefined,
    loses: FEE,
  },
  'reveals the truth one second after the grace': {
    committed: HONEST,
    play: async (cast, job, looker) => {
      await untilEnd(cast, job, -SECOND)
      return (await looker.reveal(job)).code
    },
    code: 'job-ended',
    loses: BOND,
  },
  'retracts its lie after the first reveal': {
    committed: LIE,
    play: async (_, job, looker) => (await looker.act('Retract', { Job: job })).code,
    code: 'too-late-to-retract',
    loses: BOND,
  },
  'reveals what the others revealed instead of its lie': {
    committed: LIE,
    play: async (_, job, looker) => (await looker.reveal(job, HONEST)).code,
    code: 'reveal-mismatch',
    loses: BOND,
  },
  'commits anew to what the others revealed': {
    committed: LIE,
    play: async (_, job, looker) => (await looker.commit(job, HONEST)).code,
    code: 'already-committed',
    loses: BOND,
  },
}

describe('a seat that reveals last:', () => {
  for (const [name, { committed, play, code, loses }] of Object.entries(actors))
    it(name, async ({ annotate }) => {
      const cast = await setUp({ miners: 4 })
      const { world } = cast
      const job = await submit(cast, { 'X-Redundancy': '2' }, SEAT_PRICE * 3n)
      await tick(cast)
      const looker = seated(cast, job)[0]!
      const honest = cast.miners.filter(m => m !== looker)
      const sheet = new BalanceSheet(world, {
        hostile: [looker.address],
        honest: honest.map(m => m.address),
        customers: [cast.requester],
      })
      for (let i = 0; i < 9 && world.job(job).state !== 'revealing'; i++) {
        const [next] = seated(cast, job)
        if (next) await next.commit(job, next === looker ? committed : HONEST)
        else await tick(cast)
      }
      const others = seated(cast, job, ['committed']).filter(m => m !== looker)
      for (const seat of others) await seat.reveal(job)
      expect(await play(cast, job, looker)).toBe(code)
      await world.pass(10 * MINUTE + GRACE + 21 * MINUTE)
      const figures = sheet.close()
      expect(figures.hostile).toBe(-loses)
      await annotate(told(figures))
      for (const seat of others) expect(sheet.gain(seat.address)).toBe(WAGE)
      expect(world.miner(looker.address).locked).toBe('0')
    })
})
