import type { ParsedItem } from '@apus/shared/arweave'
import { ApusError, type Clock, type Logger } from '@apus/shared/kit'
import type { AoMessage, AoResult, Tag } from '../ao-message.ts'
import { ComputeLost } from '../compute/compute.ts'
import type { Residence } from '../compute/residence.ts'
import { failure } from '../compute/resident-process.ts'
import type { AoProcess, Ledger, UnitsEntry } from '../store/ledger.ts'
import { admit, checkTags } from './admission.ts'
import { scheduleOutgoing } from './outgoing.ts'
import { Schedule } from './schedule.ts'
import type { UnitKey } from './unit-key.ts'

export interface UnitsIdentity {
  readonly module: string
  readonly scheduler: string
}

interface Waiter {
  readonly slot: number
  readonly done: () => void
  readonly failed: (error: unknown) => void
}

const notFound = (what: string): ApusError =>
  new ApusError('not-found', `${what} is not known here.`, { blame: 'peer' })

/** Scheduler, messenger and compute unit over one ledger: what comes in, in which order, and what it gives. */
export class Units {
  readonly ledger: Ledger
  readonly identity: UnitsIdentity
  readonly #key: UnitKey
  readonly #clock: Clock
  readonly #log: Logger
  readonly #residence: Residence
  readonly #pumping = new Set<string>()
  /** Slots whose results may be seen: they are on the disk, or follow from what is. */
  readonly #published = new Map<string, number>()
  readonly #waiters = new Map<string, Waiter[]>()
  #closed = false

  constructor(parts: {
    readonly ledger: Ledger
    readonly key: UnitKey
    readonly module: string
    readonly residence: Residence
    readonly clock: Clock
    readonly log: Logger
  }) {
    this.ledger = parts.ledger
    this.identity = { module: parts.module, scheduler: parts.key.address }
    this.#key = parts.key
    this.#clock = parts.clock
    this.#log = parts.log
    this.#residence = parts.residence
    for (const process of this.ledger.processes.values()) {
      this.#published.set(process.id, process.evaluated)
      this.#pump(process)
    }
  }

  /**
   * Schedules a verified item and returns its process and slot once they are on the disk. The same item again
   * changes nothing and gives the same slot. Errors: those of `admit`, `not-found`, `log-write-failed`.
   */
  async submit(item: ParsedItem): Promise<{ process: AoProcess; slot: number }> {
    const type = admit(item, this.identity)
    const processId = type === 'Process' ? item.id : item.target
    if (type === 'Message' && !this.ledger.processes.has(processId))
      throw notFound(`The process ${processId}`)
    const known = this.ledger.processes.get(processId)?.slotOf.get(item.id)
    if (known === undefined) {
      const schedule = this.#schedule()
      schedule.store(item)
      this.ledger.remember(item)
      schedule.assign(processId, item.id)
      this.#commit(schedule)
    }
    await this.ledger.durable()
    const process = this.process(processId)
    return { process, slot: known ?? this.slotOf(process, item.id) }
  }

  /** Schedules a known message for another process as well. Errors: `not-found`, `tag-duplicate`, `tag-reserved`. */
  async assign(processId: string, message: string): Promise<{ process: AoProcess; slot: number }> {
    const process = this.process(processId)
    const item = this.ledger.item(message)
    if (!item) throw notFound(`The message ${message}`)
    if (item.owner !== this.#key.address) checkTags(item.tags, false)
    if (!process.slotOf.has(message)) {
      const schedule = this.#schedule()
      schedule.assign(processId, message)
      this.#commit(schedule)
    }
    await this.ledger.durable()
    return { process, slot: this.slotOf(process, message) }
  }

  /** Stores an item that is data only. */
  async store(item: ParsedItem): Promise<void> {
    const schedule = this.#schedule()
    schedule.store(item)
    if (schedule.entries.length > 0) this.#commit(schedule)
    await this.ledger.durable()
  }

  /** Schedules a cron message, unless the process is still busy with earlier messages. */
  tick(process: AoProcess, tags: readonly Tag[]): void {
    if (process.evaluated < process.slots.length) return
    const schedule = this.#schedule()
    const item = schedule.sign({
      target: process.id,
      anchor: `cron-${process.slots.length}`.padEnd(32, '-'),
      tags: [
        { name: 'Data-Protocol', value: 'ao' },
        { name: 'Variant', value: 'ao.TN.1' },
        { name: 'Type', value: 'Message' },
        ...tags,
      ],
      data: '',
    })
    schedule.assign(process.id, item.id, { cron: true })
    this.#commit(schedule)
  }

  /** Turns cron messages of a process on or off for the signer of `item`, which is a replay when seen before. */
  async monitor(process: AoProcess, item: ParsedItem, on: boolean): Promise<void> {
    if (item.target !== process.id)
      throw new ApusError('target-wrong', 'The signed item is for another process.', { blame: 'peer' })
    if (this.ledger.monitorItems.has(item.id)) return
    const header = { kind: 'monitor', process: process.id, by: item.owner, item: item.id, on } as const
    this.ledger.commit([{ header, body: item.raw }])
    await this.ledger.durable()
  }

  process(id: string): AoProcess {
    const process = this.ledger.processes.get(id)
    if (!process) throw notFound(`The process ${id}`)
    return process
  }

  slotOf(process: AoProcess, message: string): number {
    const slot = process.slotOf.get(message)
    if (slot === undefined) throw notFound(`The message ${message}`)
    return slot
  }

  /** How many slots of a process have a result that may be read. */
  published(process: AoProcess): number {
    return this.#published.get(process.id) ?? 0
  }

  /** The result of a slot as JSON, waiting for it. Errors: `not-found`, `result-pending` after `limitMs`. */
  async result(process: AoProcess, slot: number, limitMs: number): Promise<Buffer> {
    if (slot >= process.slots.length) throw notFound(`Slot ${slot}`)
    if (this.published(process) <= slot) await this.#wait(process, slot, limitMs)
    return this.publishedResult(process, slot)
  }

  /** The result of a published slot as JSON. */
  publishedResult(process: AoProcess, slot: number): Buffer {
    const place = process.slots[slot]?.result
    if (!place) throw notFound(`Slot ${slot}`)
    return this.ledger.result(place)
  }

  /** Evaluates a message without keeping its effects. */
  async dryRun(
    process: AoProcess,
    input: Pick<AoMessage, 'Id' | 'Owner' | 'From' | 'Tags' | 'Data'>,
  ): Promise<AoResult> {
    const last = process.slots.at(-1)
    if (!last) throw notFound('The process')
    const message: AoMessage = {
      ...input,
      Target: process.id,
      Epoch: 0,
      Nonce: process.slots.length - 1,
      Timestamp: last.timestamp,
      'Block-Height': last.height,
      'Hash-Chain': last.chain,
      Module: process.module,
      Cron: false,
      'Read-Only': true,
    }
    try {
      return await this.#residence.dryRun(process, message)
    } catch (error) {
      if (error instanceof ComputeLost) return failure(error.message)
      throw error
    }
  }

  async close(): Promise<void> {
    this.#closed = true
    await this.#residence.close()
    const closed = new ApusError('units-closed', 'The AO units are shutting down.', { retry: true })
    for (const waiters of this.#waiters.values()) for (const waiter of waiters) waiter.failed(closed)
    await this.ledger.close()
  }

  #schedule(): Schedule {
    return new Schedule(this.ledger, this.#key, this.#clock.now())
  }

  #commit(schedule: Schedule, before: readonly UnitsEntry[] = []): void {
    this.ledger.commit([...before, ...schedule.entries])
    for (const id of schedule.touched) this.#pump(this.process(id))
  }

  #pump(process: AoProcess): void {
    if (this.#pumping.has(process.id)) return
    this.#pumping.add(process.id)
    this.#evaluateAll(process)
      .catch(error => {
        if (this.#closed) return
        this.#log.error({ err: error, process: process.id }, 'process stopped')
        this.#giveUp(process, error)
      })
      .finally(() => this.#pumping.delete(process.id))
  }

  async #evaluateAll(process: AoProcess): Promise<void> {
    // Yields once, so that whoever schedules sees its own commit finished before evaluation begins.
    await Promise.resolve()
    while (!this.#closed && process.evaluated < process.slots.length)
      await this.#residence.evaluate(process, result => this.#record(process, result))
  }

  #record(process: AoProcess, result: AoResult): void {
    const nonce = process.evaluated
    const slot = process.slots[nonce]
    const cause = slot && this.ledger.item(slot.message)
    if (!cause) throw new Error(`The ledger lacks the message of slot ${nonce} of process ${process.id}.`)
    const failed = result.Error === undefined ? {} : { failed: true as const }
    const entry: UnitsEntry = {
      header: { kind: 'result', process: process.id, slot: nonce, ...failed },
      body: Buffer.from(JSON.stringify(result)),
    }
    const schedule = this.#schedule()
    const source = { process, slot: nonce, cause, result }
    for (const one of scheduleOutgoing(schedule, this.ledger, source, this.identity))
      this.#log.warn(
        { process: process.id, slot: nonce, ...one },
        'A message of a process was not delivered.',
      )
    // One frame holds the result and everything it sends, so a crash neither loses nor repeats a message.
    this.#commit(schedule, [entry])
    // A result that sends nothing and comes from no watchdog is derived again if the disk loses it, so it need not wait.
    const derivable = schedule.entries.length === 0 && result.Error === undefined && this.ledger.holds(slot)
    if (derivable && this.published(process) === nonce) this.#publish(process, nonce + 1)
    else
      this.ledger.durable().then(
        () => this.#publish(process, nonce + 1),
        error => this.#giveUp(process, error),
      )
  }

  #publish(process: AoProcess, count: number): void {
    this.#published.set(process.id, Math.max(count, this.published(process)))
    const waiters = this.#waiters.get(process.id)
    if (!waiters) return
    const still = waiters.filter(waiter => waiter.slot >= count)
    if (still.length > 0) this.#waiters.set(process.id, still)
    else this.#waiters.delete(process.id)
    for (const waiter of waiters) if (waiter.slot < count) waiter.done()
  }

  #giveUp(process: AoProcess, error: unknown): void {
    for (const waiter of this.#waiters.get(process.id) ?? []) waiter.failed(error)
    this.#waiters.delete(process.id)
  }

  #wait(process: AoProcess, slot: number, limitMs: number): Promise<void> {
    return new Promise((resolve, reject) => {
      const waiters = this.#waiters.get(process.id) ?? []
      this.#waiters.set(process.id, waiters)
      const timer = setTimeout(() => {
        const left = this.#waiters.get(process.id)?.filter(other => other !== waiter)
        if (left) this.#waiters.set(process.id, left)
        reject(new ApusError('result-pending', `Slot ${slot} has no result yet.`, { retry: true }))
      }, limitMs)
      const waiter: Waiter = {
        slot,
        done: () => {
          clearTimeout(timer)
          resolve()
        },
        failed: error => {
          clearTimeout(timer)
          reject(error)
        },
      }
      waiters.push(waiter)
    })
  }
}
