import { createHash } from 'node:crypto'
import {
  type DataItemFields,
  type ParsedItem,
  parseDataItem,
  type SignedItem,
  signDataItemSync,
} from '@apus/shared/arweave'
import type { Ledger, LogHeader, UnitsEntry } from '../store/ledger.ts'
import type { UnitKey } from './unit-key.ts'

/** Arweave makes about one block in two minutes; heights are counted from its first one. */
export const BLOCK_MS = 120_000
const ARWEAVE_GENESIS_MS = 1_528_500_000_000

/** The block height that the units report for a time in ms. */
export const heightAt = (timestamp: number): number => Math.floor((timestamp - ARWEAVE_GENESIS_MS) / BLOCK_MS)

type SlotHeader = Extract<LogHeader, { kind: 'slot' }>

/** What came before a slot: the assignment it is chained to. */
interface Previous {
  readonly nonce: number
  readonly assignment: string
  readonly chain: string
  readonly timestamp: number
}

/** The chain over assignments: ids that the scheduler signs, which no sender can choose. */
export function nextChain(
  previous: { readonly chain: string; readonly assignment: string } | undefined,
): string {
  const hash = createHash('sha256')
  if (previous) {
    hash.update(Buffer.from(previous.chain, 'base64url'))
    hash.update(Buffer.from(previous.assignment, 'base64url'))
  }
  return hash.digest('base64url')
}

/** Collects what one commit schedules, so that several messages for one process follow each other in it. */
export class Schedule {
  readonly entries: UnitsEntry[] = []
  /** Processes that have a new slot. */
  readonly touched = new Set<string>()
  readonly #ledger: Ledger
  readonly #key: UnitKey
  readonly #now: number
  readonly #last = new Map<string, Previous>()
  readonly #new = new Set<string>()

  constructor(ledger: Ledger, key: UnitKey, now: number) {
    this.#ledger = ledger
    this.#key = key
    this.#now = now
  }

  /** Signs an item with the units' own key and stores it. */
  sign(fields: DataItemFields): ParsedItem {
    const item = this.#ledger.remember(parseDataItem(signDataItemSync(fields, this.#key).raw))
    this.store(item)
    return item
  }

  store({ id, raw }: SignedItem): void {
    if (this.#ledger.hasItem(id) || this.#new.has(id)) return
    this.#new.add(id)
    this.entries.push({ header: { kind: 'item', id, height: heightAt(this.#now) }, body: raw })
  }

  /** Gives a stored item the next slot of a process; a process id that is new is founded by its own item. */
  assign(processId: string, message: string, options: { cron?: true } = {}): void {
    const previous = this.#previous(processId)
    const nonce = previous ? previous.nonce + 1 : 0
    const timestamp = previous ? Math.max(this.#now, previous.timestamp + 1) : this.#now
    const height = heightAt(timestamp)
    const chain = nextChain(previous)
    const { id: assignment, raw } = signDataItemSync(
      {
        tags: [
          { name: 'Data-Protocol', value: 'ao' },
          { name: 'Variant', value: 'ao.TN.1' },
          { name: 'Type', value: 'Assignment' },
          { name: 'Process', value: processId },
          { name: 'Message', value: message },
          { name: 'Epoch', value: '0' },
          { name: 'Nonce', value: String(nonce) },
          { name: 'Timestamp', value: String(timestamp) },
          { name: 'Block-Height', value: String(height) },
          { name: 'Hash-Chain', value: chain },
        ],
        data: '',
      },
      this.#key,
    )
    const header: SlotHeader = {
      kind: 'slot',
      process: processId,
      message,
      assignment,
      timestamp,
      height,
      chain,
      ...options,
    }
    this.entries.push({ header, body: raw })
    this.touched.add(processId)
    this.#last.set(processId, { nonce, assignment, chain, timestamp })
  }

  #previous(processId: string): Previous | undefined {
    const planned = this.#last.get(processId)
    if (planned) return planned
    const slots = this.#ledger.processes.get(processId)?.slots
    const last = slots?.at(-1)
    return slots && last ? { ...last, nonce: slots.length - 1 } : undefined
  }
}
