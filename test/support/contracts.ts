import { createHash } from 'node:crypto'
import type { DisputeView, JobView, MinerView } from '@apus/shared/protocol'
import type { z } from 'zod'
import { bundle, type LuaValue } from '../../contracts-lua/tools/bundle.ts'
import type { AoResult } from '../../deploy/ao-units/ao-message.ts'
import { disputeView } from '../../shared/src/protocol/dispute.ts'
import { jobView } from '../../shared/src/protocol/job.ts'
import { minerView, modelView, type TotalsView, totalsView } from '../../shared/src/protocol/views.ts'
import { type AosTestProcess, loadAos } from './aos.ts'

export type Tags = Readonly<Record<string, string | undefined>>

/** A message that a process sent, as its recipient would read it. */
export interface Sent {
  readonly from: string
  readonly to: string
  readonly tags: Readonly<Record<string, string>>
  readonly data: string
}

export interface Outcome {
  readonly id: string
  readonly sent: readonly Sent[]
  readonly error: string | undefined
  /** The `Code` of the Error that the sender got. */
  readonly code: string | undefined
}

/** A 43-character address that says whose it is. */
export const addressOf = (name: string): string => name.replace(/[^A-Za-z0-9_-]/g, '-').padEnd(43, '_')

export const APUS = 10n ** 12n
export const SUPPLY = 10n ** 21n

export const UNIT = addressOf('messenger')
export const DEPLOYER = addressOf('deployer')
/** Tags that a messenger unit does not carry over when it pushes a message. */
const NOT_PUSHED = new Set(['Data-Protocol', 'Variant', 'Type', 'From-Process', 'From-Module'])

const MINUTE = 60_000

/** Parameters under which a test needs no hours. Money as in production, times short. */
export const TEST_PARAMETERS = {
  commitWindow: 10 * MINUTE,
  revealWindow: 10 * MINUTE,
  disputeWindow: 20 * MINUTE,
  disputeClock: 10 * MINUTE,
  disputeIncrement: 2 * MINUTE,
  disputeRecheck: 10 * MINUTE,
  grace: 60 * MINUTE,
  unstakeDelay: 30 * MINUTE,
  drawTimeout: 10 * MINUTE,
  registerGrace: 60 * MINUTE,
  retention: 120 * MINUTE,
}

interface WorldOptions {
  readonly parameters?: Readonly<Record<string, LuaValue>>
  /** First holders in whole units; the deployer gets the rest of the supply. */
  readonly balances?: Readonly<Record<string, bigint>>
}

/** Everything that a process published, key by key. */
type Published = Record<string, unknown>

/**
 * The two contracts in the real aos module and a messenger unit between them. Whatever happens, the invariants of money
 * are checked after every single message.
 */
export class World {
  readonly token = addressOf('token-process')
  readonly network = addressOf('network-process')
  readonly published: { token: Published; network: Published } = { token: {}, network: {} }
  /** Everything sent to an address that is not one of the two contracts. */
  readonly inbox: Sent[] = []
  /** Messages between the processes that have not been delivered. */
  readonly flying: Sent[] = []
  /** Whether messages between the processes are delivered at once. */
  delivering = true
  now = 1_700_000_000_000
  evaluations = 0
  evaluationMs = 0
  /** Of the slowest message so far. */
  slowestMs = 0
  /** Of all messages so far, data and tags. */
  bytes = 0
  readonly #processes = new Map<string, AosTestProcess>()
  readonly #parsed = new Map<string, unknown>()
  #chain = createHash('sha256').update('genesis').digest('base64url')

  static async create(options: WorldOptions = {}): Promise<World> {
    const world = new World()
    const given = Object.values(options.balances ?? {}).reduce((sum, units) => sum + units, 0n)
    const balances = Object.fromEntries(
      Object.entries({ ...options.balances, [DEPLOYER]: SUPPLY - given }).map(([k, v]) => [k, String(v)]),
    )
    const parameters = { ...TEST_PARAMETERS, ...options.parameters }
    await world.load(world.token, (await bundle('token', { balances })).source)
    await world.load(world.network, (await bundle('network', { token: world.token, parameters })).source)
    world.checkInvariants()
    return world
  }

  /** Spawns a process of the deployer and loads its code. */
  async load(id: string, source: string): Promise<void> {
    const aos = await loadAos()
    const tags = { Authority: UNIT, Scheduler: addressOf('scheduler') }
    const process = await aos.spawn({ id, owner: DEPLOYER, tags, timestamp: this.now, code: source })
    const { loaded } = process
    if (loaded === undefined || loaded.Error !== undefined) throw new Error(loaded?.Error)
    this.#processes.set(id, process)
    this.#read(id, loaded.Messages)
  }

  /** A wallet's signed message; what it causes between the processes follows at once unless `delivering` is off. */
  send(from: string, process: string, action: string, tags: Tags = {}, data = ''): Promise<Outcome> {
    return this.raw({ from, process, tags: { Action: action, ...tags }, data })
  }

  /** A message of an AO process, as a messenger unit would push it. */
  push(from: string, process: string, action: string, tags: Tags = {}, data = ''): Promise<Outcome> {
    return this.raw({
      from,
      owner: UNIT,
      process,
      tags: { 'From-Process': from, Action: action, ...tags },
      data,
    })
  }

  /** Of the message before: what a sender can know. */
  get hashChain(): string {
    return this.#chain
  }

  async raw(message: {
    from: string
    process: string
    owner?: string
    id?: string
    target?: string
    tags: Tags | readonly { name: string; value: string }[]
    data?: string
    timestamp?: number
  }): Promise<Outcome> {
    const target = this.#processes.get(message.process)
    if (!target) throw new Error(`there is no process ${message.process}`)
    this.evaluations++
    this.now += 1
    const id = message.id ?? digestOf(`message ${this.evaluations}`)
    this.#chain = digestOf(this.#chain + id)
    const tags = Array.isArray(message.tags) ? message.tags : definedOf(message.tags as Tags)
    this.bytes += JSON.stringify(tags).length + (message.data ?? '').length
    const began = performance.now()
    const result = await target.handle({
      from: message.from,
      ...(message.owner ? { owner: message.owner } : {}),
      ...(message.target ? { target: message.target } : {}),
      id,
      tags,
      data: message.data ?? '',
      timestamp: message.timestamp ?? this.now,
      hashChain: this.#chain,
    })
    const took = performance.now() - began
    this.evaluationMs += took
    this.slowestMs = Math.max(this.slowestMs, took)
    const sent = this.#read(message.process, result.Messages)
    this.checkInvariants()
    const refusal = sent.find(m => m.to === message.from && /Error$/.test(m.tags.Action ?? ''))
    if (this.delivering) await this.deliver()
    return { id, sent, error: result.Error, code: refusal?.tags.Code }
  }

  /** Delivers what flies between the processes, and what that causes. */
  async deliver(): Promise<void> {
    for (let next = this.flying.shift(); next; next = this.flying.shift()) await this.deliverOne(next)
  }

  async deliverOne(message: Sent): Promise<Outcome> {
    const held = this.delivering
    this.delivering = false
    const tags = { 'From-Process': message.from, ...message.tags }
    const { from, to: process, data } = message
    const outcome = await this.raw({ from, owner: UNIT, process, tags, data })
    this.delivering = held
    return outcome
  }

  /** Lets network time pass, by ticks that each move it two minutes at most. */
  async pass(ms: number): Promise<void> {
    for (let left = ms; left > 0; left -= 120_000) {
      this.now += Math.min(left, 120_000)
      await this.send(addressOf('anyone'), this.network, 'Tick')
    }
  }

  pay(from: string, quantity: bigint, action: string, tags: Tags = {}, data = ''): Promise<Outcome> {
    const transfer = { Recipient: this.network, Quantity: String(quantity), 'X-Action': action, ...tags }
    return this.send(from, this.token, 'Transfer', transfer, data)
  }

  balance(address: string): bigint {
    return BigInt(this.#entry('token', 'balances', address) ?? '0')
  }

  account(address: string): bigint {
    return BigInt(this.#entry('network', 'accounts', address) ?? '0')
  }

  job(id: string): JobView {
    return jobView.parse(JSON.parse(this.#entry('network', 'jobs', id) || 'null'))
  }

  dispute(id: string): DisputeView {
    return disputeView.parse(JSON.parse(this.#entry('network', 'disputes', id) || 'null'))
  }

  miner(address: string): MinerView {
    return minerView.parse(JSON.parse(this.#entry('network', 'miners', address) || 'null'))
  }

  totals(): TotalsView {
    return totalsView.parse(JSON.parse(String(this.published.network.totals)))
  }

  /** The published text of an entry, or undefined. */
  #entry(process: 'token' | 'network', key: string, id: string): string | undefined {
    return (this.published[process][key] as Record<string, string> | undefined)?.[id]
  }

  entry(key: string, id: string): string | undefined {
    return this.#entry('network', key, id)
  }

  /** Messages with this action that an address got. */
  received(address: string, action: string): Sent[] {
    return this.inbox.filter(m => m.to === address && m.tags.Action === action)
  }

  #read(process: string, messages: AoResult['Messages']) {
    const sent: Sent[] = []
    for (const message of messages) {
      const tags = message.Tags
      if (tags.some(t => t.name === 'device' && t.value === 'patch@1.0')) {
        if (process === this.token) merge(this.published.token, tags)
        if (process === this.network) merge(this.published.network, tags)
        continue
      }
      check(new Set(tags.map(t => t.name)).size === tags.length, 'no message has a tag twice')
      const kept = tags.filter(t => !NOT_PUSHED.has(t.name)).map(t => [t.name, String(t.value)])
      sent.push({
        from: process,
        to: String(message.Target),
        tags: Object.fromEntries(kept),
        data: String(message.Data ?? ''),
      })
    }
    for (const message of sent) {
      if (this.#processes.has(message.to)) this.flying.push(message)
      if (message.to !== this.token && message.to !== this.network) this.inbox.push(message)
    }
    return sent
  }

  /** The published entries, each text parsed once. */
  #views<T extends z.ZodType>(map: unknown, schema: T): z.output<T>[] {
    const texts = Object.values((map ?? {}) as Record<string, string>).filter(text => text !== '')
    return texts.map(text => {
      const known = this.#parsed.get(text)
      if (known !== undefined) return known as z.output<T>
      const view = schema.parse(JSON.parse(text))
      this.#parsed.set(text, view)
      return view
    })
  }

  /** What must hold after every message, whatever was sent. */
  checkInvariants(): void {
    const { token, network } = this.published
    const balances = valuesOf(token.balances)
    for (const units of balances) check(units >= 0n, 'a balance is negative')
    const supply = BigInt((JSON.parse(String(token['token-info'])) as { supply: string }).supply)
    check(sum(balances) === supply, 'balances add up to the supply')
    if (network.totals === undefined) return
    const totals = Object.fromEntries(
      Object.entries(totalsView.parse(JSON.parse(String(network.totals)))).map(([k, v]) => [k, BigInt(v)]),
    ) as Record<keyof TotalsView, bigint>
    const { accounts, escrow, stake, bonds, pending, burning, held, burnt } = totals
    for (const units of Object.values(totals)) check(units >= 0n, 'a pool is negative')
    check(accounts + escrow + stake + bonds + pending + burning === held, 'the pools add up to what is held')
    check(sum(valuesOf(network.accounts)) === accounts, 'accounts add up')
    const jobs = this.#views(network.jobs, jobView)
    check(sum(jobs.map(j => BigInt(j.escrow))) === escrow, 'escrows add up')
    for (const job of jobs) {
      const ended = ['settled', 'refunded', 'expired', 'cancelled', 'void'].includes(job.state)
      check(!ended || job.escrow === '0', 'an ended job holds no escrow')
      check(new Set(job.seats.map(s => s.miner)).size === job.seats.length, 'one seat per wallet')
    }
    const miners = this.#views(network.miners, minerView)
    check(sum(miners.map(m => BigInt(m.stake))) === stake, 'stakes add up')
    for (const m of miners) {
      check(BigInt(m.locked) >= 0n && BigInt(m.unstaking) >= 0n, 'locks are not negative')
      check(BigInt(m.locked) + BigInt(m.unstaking) <= BigInt(m.stake), 'no more is locked than staked')
    }
    const models = this.#views(network.models, modelView)
    const open = this.#views(network.disputes, disputeView).filter(
      d => d.turn !== undefined || d.state === 'waiting',
    )
    const atStake = sum(open.map(d => BigInt(d.bond)))
    check(sum(models.map(m => BigInt(m.bond ?? '0'))) + atStake === bonds, 'bonds add up')
    for (const job of jobs) {
      const slashed = job.seats.filter(s => s.slashed !== undefined)
      check(
        slashed.every(s => s.paid === undefined),
        'no convicted seat keeps its pay',
      )
    }
    const inFlight = (actions: readonly string[]) =>
      sum(
        this.flying
          .filter(m => m.to === this.network && actions.includes(m.tags.Action ?? ''))
          .map(m => BigInt(m.tags.Quantity ?? '0')),
      )
    const owned = BigInt((token.balances as Record<string, string>)[this.network] ?? '0')
    check(
      owned + inFlight(['Debit-Notice', 'Burn-Notice']) === held + inFlight(['Credit-Notice']),
      'what the network holds is what the token says, but for notices on their way',
    )
    const elsewhere = sum(
      this.inbox.filter(m => m.tags.Action === 'Burn-Notice').map(m => BigInt(m.tags.Quantity ?? '0')),
    )
    check(
      SUPPLY - supply === burnt + inFlight(['Burn-Notice']) + elsewhere,
      'burnt units have left the supply',
    )
  }
}

export const digestOf = (text: string): string => createHash('sha256').update(text).digest('base64url')

const definedOf = (tags: Tags): Record<string, string> =>
  Object.fromEntries(Object.entries(tags).filter((e): e is [string, string] => e[1] !== undefined))

function merge(into: Published, tags: readonly { name: string; value?: unknown }[]): void {
  for (const { name, value } of tags) {
    if (typeof value === 'object') into[name] = { ...(into[name] as object), ...value }
    else into[name] = value
  }
}

function check(holds: boolean, what: string): void {
  if (!holds) throw new Error(`broken invariant: ${what}`)
}

const sum = (units: readonly bigint[]): bigint => units.reduce((total, u) => total + u, 0n)
const valuesOf = (map: unknown): bigint[] => Object.values((map ?? {}) as Record<string, string>).map(BigInt)
