import { applyPatches, type PatchState } from '@apus/shared/ao'
import { type ParsedItem, type PostedTransaction, parseDataItem, readTransaction } from '@apus/shared/arweave'
import type { AoResult, Tag } from '../ao-message.ts'
import { tagValue } from '../ao-message.ts'
import { AppendLog, type LogEntry, type LogPlace } from './append-log.ts'
import { ByteCache } from './byte-cache.ts'

/** What the units write down; everything they know follows from these entries in order. */
export type LogHeader =
  | { readonly kind: 'item'; readonly id: string; readonly height: number }
  | {
      readonly kind: 'slot'
      readonly process: string
      readonly message: string
      readonly assignment: string
      readonly timestamp: number
      readonly height: number
      readonly chain: string
      readonly cron?: true
    }
  | { readonly kind: 'result'; readonly process: string; readonly slot: number; readonly failed?: true }
  | {
      readonly kind: 'monitor'
      readonly process: string
      readonly by: string
      readonly item: string
      readonly on: boolean
    }
  | {
      readonly kind: 'transaction'
      readonly id: string
      readonly height: number
      readonly root: string
      readonly bytes: number
    }

export type UnitsEntry = LogEntry<LogHeader>

/** A scheduled message: its place in the order of its process, signed by the scheduler. */
export interface Slot {
  readonly message: string
  /** Id of the signed assignment item. */
  readonly assignment: string
  readonly timestamp: number
  readonly height: number
  readonly chain: string
  readonly cron: boolean
  readonly place: LogPlace
  result?: LogPlace
  /** The message changed nothing and is skipped when the process is rebuilt. */
  failed?: boolean
}

export interface AoProcess {
  readonly id: string
  readonly owner: string
  readonly module: string
  readonly tags: readonly Tag[]
  readonly slots: Slot[]
  readonly slotOf: Map<string, number>
  /** Slots with a result. */
  evaluated: number
  state: PatchState
  /** Who asked for cron messages. */
  readonly monitors: Set<string>
}

export interface StoredTransaction {
  readonly posted: PostedTransaction
  readonly owner: string
  readonly tags: readonly Tag[]
  readonly part: WeavePart
}

interface Stored extends LogPlace {
  readonly height: number
}

export interface WeavePart {
  readonly id: string
  readonly root: string
  readonly bytes: number
  /** Number of its last byte. */
  readonly end: number
}

/** Parsed items and results kept in memory, newest first; everything else is read from the log. */
const CACHE_BYTES = 8 << 20

/** The durable memory of the units. State changes in `#apply` only, live and when the log is read back. */
export class Ledger {
  readonly processes = new Map<string, AoProcess>()
  /** Ids of all items and transactions in the order they came. */
  readonly order: string[] = []
  /** Data of transactions laid end to end, as the weave numbers its bytes from 1. */
  readonly weave: WeavePart[] = []
  readonly monitorItems = new Set<string>()
  readonly #places = new Map<string, Stored>()
  readonly #transactions = new Map<string, Stored & { readonly part: WeavePart }>()
  readonly #log: AppendLog<LogHeader>
  readonly #items = new ByteCache<ParsedItem>(CACHE_BYTES)

  constructor(path: string) {
    this.#log = new AppendLog<LogHeader>(path)
    this.#log.replay((header, body, place) => this.#apply(header, body, place))
  }

  /** Writes entries all or none and applies them; `durable` waits until they are on the disk. */
  commit(entries: readonly UnitsEntry[]): void {
    const places = this.#log.append(entries)
    for (const [at, entry] of entries.entries()) {
      const place = places[at]
      if (place) this.#apply(entry.header, entry.body, place)
    }
  }

  /** Why nothing more is accepted, if so. */
  get failure(): Error | undefined {
    return this.#log.failure
  }

  durable(): Promise<void> {
    return this.#log.durable()
  }

  /** Whether a slot is on the disk already. */
  holds(slot: Slot): boolean {
    return this.#log.holds(slot.place)
  }

  item(id: string): ParsedItem | undefined {
    const cached = this.#items.get(id)
    if (cached) return cached
    const place = this.#places.get(id)
    if (!place) return undefined
    return this.remember(parseDataItem(this.#log.read(place)))
  }

  hasItem(id: string): boolean {
    return this.#places.has(id)
  }

  /** Keeps an item at hand that was parsed already. */
  remember(item: ParsedItem): ParsedItem {
    this.#items.set(item.id, item, item.raw.length)
    return item
  }

  /** A posted transaction without its data, its owner and tags readable, and where its data lies. */
  transaction(id: string): StoredTransaction | undefined {
    const known = this.#transactions.get(id)
    if (!known) return undefined
    const posted = JSON.parse(this.#log.read(known).toString()) as PostedTransaction
    const { owner, tags } = readTransaction(posted)
    return { posted, owner, tags, part: known.part }
  }

  /** Block height at which an item or transaction came. */
  height(id: string): number {
    return (this.#places.get(id) ?? this.#transactions.get(id))?.height ?? 0
  }

  /** The signed assignment item of a slot. */
  assignment(slot: Slot): ParsedItem {
    return parseDataItem(this.#log.read(slot.place))
  }

  /** The JSON of a result. */
  result(place: LogPlace): Buffer {
    return this.#log.read(place)
  }

  close(): Promise<void> {
    return this.#log.close()
  }

  #apply(header: LogHeader, body: Uint8Array, place: LogPlace): void {
    switch (header.kind) {
      case 'item':
        this.#places.set(header.id, { ...place, height: header.height })
        this.order.push(header.id)
        return
      case 'transaction':
        this.#transactions.set(header.id, { ...place, height: header.height, part: this.#grow(header) })
        this.order.push(header.id)
        return
      case 'slot': {
        const process = this.processes.get(header.process) ?? this.#found(header.process)
        const { message, assignment, timestamp, height, chain, cron = false } = header
        process.slotOf.set(message, process.slots.length)
        process.slots.push({ message, assignment, timestamp, height, chain, cron, place })
        return
      }
      case 'result': {
        const process = this.processes.get(header.process)
        const slot = process?.slots[header.slot]
        if (!process || !slot) return
        slot.result = place
        slot.failed = header.failed ?? false
        process.evaluated = header.slot + 1
        const text = Buffer.from(body.buffer, body.byteOffset, body.byteLength)
        if (!text.includes('patch@1.0')) return
        const { Messages } = JSON.parse(text.toString()) as AoResult
        process.state = applyPatches(process.state, Messages)
        return
      }
      case 'monitor': {
        this.monitorItems.add(header.item)
        const process = this.processes.get(header.process)
        if (header.on) process?.monitors.add(header.by)
        else if (header.by === process?.owner) process.monitors.clear()
        else process?.monitors.delete(header.by)
      }
    }
  }

  #grow({ id, root, bytes }: Extract<LogHeader, { kind: 'transaction' }>): WeavePart {
    const part = { id, root, bytes, end: (this.weave.at(-1)?.end ?? 0) + bytes }
    this.weave.push(part)
    return part
  }

  #found(id: string): AoProcess {
    const item = this.item(id)
    if (!item)
      throw new Error(`The log schedules messages for the process ${id} but does not hold the process.`)
    const process: AoProcess = {
      id,
      owner: tagValue(item.tags, 'From-Process') ?? item.owner,
      module: tagValue(item.tags, 'Module') ?? '',
      tags: item.tags,
      slots: [],
      slotOf: new Map(),
      evaluated: 0,
      state: {},
      monitors: new Set(),
    }
    this.processes.set(id, process)
    return process
  }
}
