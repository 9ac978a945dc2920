import type { JobView } from '@apus/shared/protocol'
import { expect } from 'vitest'
import { modelView } from '../../shared/src/protocol/views.ts'
import type { World } from './contracts.ts'

/** Who is who among those whose wealth is watched. */
interface Roles {
  /** Those that play together against the rest. */
  readonly hostile: readonly string[]
  /** Those that keep the rules and work. */
  readonly honest: readonly string[]
  /** Those that keep the rules and pay for answers. */
  readonly customers?: readonly string[]
}

interface Figures {
  /** What the hostile have gained together, in units. */
  readonly hostile: bigint
  /** What each of the others has gained, customers less what their answers cost. */
  readonly others: readonly bigint[]
  readonly messages: number
  readonly bytes: number
  readonly meanMs: number
}

/** Everything that a wallet owns, wherever it lies: token, account, stake, bonds of its disputes and listings, escrow of its jobs. */
export function worth(world: World, address: string): bigint {
  const stake = world.entry('miners', address) === undefined ? 0n : BigInt(world.miner(address).stake)
  const bonds = idsOf(world, 'disputes')
    .map(id => world.dispute(id))
    .filter(d => d.challenger === address && (d.state === 'running' || d.state === 'waiting'))
    .map(d => BigInt(d.bond))
  const escrow = jobsOf(world, address).map(job => BigInt(job.escrow))
  const { listingBond } = JSON.parse(String(world.published.network.parameters)) as { listingBond: string }
  const listed = idsOf(world, 'models').filter(id => listerOf(world, id) === address)
  return (
    world.balance(address) +
    world.account(address) +
    stake +
    sum(bonds) +
    sum(escrow) +
    BigInt(listingBond) * BigInt(listed.length)
  )
}

const idsOf = (world: World, key: string): string[] =>
  Object.entries((world.published.network[key] ?? {}) as Record<string, string>).flatMap(([id, text]) =>
    text === '' ? [] : [id],
  )

const listerOf = (world: World, model: string): string =>
  modelView.parse(JSON.parse(world.entry('models', model) ?? 'null')).lister

const jobsOf = (world: World, requester: string): JobView[] =>
  idsOf(world, 'jobs')
    .map(id => world.job(id))
    .filter(job => job.requester === requester)

/** What a customer has paid for the answers of each of its jobs that count. */
const paidFor = (world: World, customer: string): Map<string, bigint> =>
  new Map(jobsOf(world, customer).map(job => [job.id, sum(job.seats.map(seat => BigInt(seat.paid ?? '0')))]))

/** The books of one attack, from before it to its end. */
export class BalanceSheet {
  readonly #world: World
  readonly #roles: Required<Roles>
  readonly #before: ReadonlyMap<string, bigint>
  readonly #paid: ReadonlyMap<string, bigint>
  readonly #gone: bigint
  readonly #start: { readonly messages: number; readonly bytes: number; readonly ms: number }

  constructor(world: World, roles: Roles) {
    this.#world = world
    this.#roles = { customers: [], ...roles }
    const { hostile, honest, customers } = this.#roles
    this.#before = new Map([...hostile, ...honest, ...customers].map(who => [who, worth(world, who)]))
    this.#paid = new Map(customers.flatMap(who => [...paidFor(world, who)]))
    this.#gone = this.#burnt()
    this.#start = { messages: world.evaluations, bytes: world.bytes, ms: world.evaluationMs }
  }

  /**
   * Closes the books: nothing is on its way or held for a job, the honest have lost nothing, customers nothing but the
   * wages of seats, and what all of them lost together was burnt.
   */
  close(): Figures {
    const world = this.#world
    const { hostile, honest, customers } = this.#roles
    expect(world.totals()).toMatchObject({ escrow: '0', pending: '0' })
    const gains = sum([...this.#before.keys()].map(who => this.gain(who)))
    expect(gains, 'what all lost together was burnt').toBe(this.#gone - this.#burnt())
    const others = [
      ...honest.map(who => this.gain(who)),
      ...customers.map(who => this.gain(who) + this.#paidSince(who)),
    ]
    for (const gain of others) expect(gain, 'nobody honest loses').toBeGreaterThanOrEqual(0n)
    const messages = world.evaluations - this.#start.messages
    return {
      hostile: sum(hostile.map(who => this.gain(who))),
      others,
      messages,
      bytes: world.bytes - this.#start.bytes,
      meanMs: (world.evaluationMs - this.#start.ms) / messages,
    }
  }

  /** What one of the watched has gained so far. */
  gain(who: string): bigint {
    return worth(this.#world, who) - (this.#before.get(who) ?? 0n)
  }

  /** For jobs that are still published: the others ended long before. */
  #paidSince(customer: string): bigint {
    const paid = [...paidFor(this.#world, customer)]
    return sum(paid.map(([job, units]) => units - (this.#paid.get(job) ?? 0n)))
  }

  #burnt(): bigint {
    const { burnt, burning } = this.#world.totals()
    return BigInt(burnt) + BigInt(burning)
  }
}

/** The figures in one line, to stand beside a test. */
export function told({ hostile, others, messages, bytes, meanMs }: Figures): string {
  const [least = 0n] = others.toSorted((a, b) => (a < b ? -1 : 1))
  return (
    `hostile ${inApus(hostile)} APUS, each other ${inApus(least)} APUS or more, ` +
    `${messages} messages, ${bytes} bytes, ${meanMs.toFixed(1)} ms each`
  )
}

const inApus = (units: bigint): string => (Number(units / 10n ** 6n) / 10 ** 6).toFixed(3)
const sum = (units: readonly bigint[]): bigint => units.reduce((total, u) => total + u, 0n)
