import { ApusError, raceAbort } from '@apus/shared/kit'
import { firstRows, type Manifest, PAGE_ROWS } from '@apus/shared/machine'
import type { MemoryPlan } from './memory-plan.ts'
import { PageDigester } from './page-digester.ts'
import { pageBytes, tablePages } from './sizes.ts'

interface Sequence {
  readonly slots: readonly number[]
  /** Leaf hashes of full pages, as they become full. */
  readonly digests: Map<number, Promise<Uint8Array>>
}

/** Who has which page slots of keys and values, and what they hash to. */
export class PageCache {
  readonly #pageBytes: number
  readonly #plan: MemoryPlan
  readonly #memories: readonly WebAssembly.Memory[]
  readonly #digester: PageDigester
  readonly #hashesAhead: boolean
  readonly #sequences = new Map<number, Sequence>()
  readonly #free: number[]
  #turn: Promise<void> = Promise.resolve()
  /** Of the one that waits for room. */
  #left: PromiseWithResolvers<void> | undefined

  constructor(
    manifest: Manifest,
    plan: MemoryPlan,
    memories: readonly WebAssembly.Memory[],
    hashesAhead: boolean,
  ) {
    this.#pageBytes = pageBytes(manifest)
    this.#hashesAhead = hashesAhead
    this.#plan = plan
    this.#memories = memories
    this.#free = Array.from({ length: plan.slots }, (_, i) => plan.slots - 1 - i)
    this.#digester = new PageDigester({
      memories,
      slotBytes: plan.shards.map(shard => shard.slotBytes),
      headSize: manifest.headSize,
    })
  }

  /**
   * A sequence with room for `positions`, once others have left enough; first come, first served. Errors: `out-of-memory` when
   * there will never be room, `aborted`.
   */
  async open(positions: number, signal: AbortSignal): Promise<number> {
    const { limits } = this.#plan
    if (positions > limits.positions) {
      throw new ApusError(
        'out-of-memory',
        `The memory for keys and values holds ${limits.positions} positions, not ${positions}.`,
      )
    }
    const needed = Math.ceil(positions / PAGE_ROWS)
    const before = this.#turn
    const turn = Promise.withResolvers<void>()
    this.#turn = before.then(() => turn.promise)
    try {
      await orAborted(before, signal)
      while (needed > this.#free.length || this.#sequences.size >= limits.sequences) {
        this.#left = Promise.withResolvers()
        await orAborted(this.#left.promise, signal)
      }
      return this.#take(needed)
    } finally {
      turn.resolve()
    }
  }

  #take(needed: number): number {
    let sequence = 0
    while (this.#sequences.has(sequence)) sequence++
    const slots = this.#free.splice(this.#free.length - needed, needed)
    this.#sequences.set(sequence, { slots, digests: new Map() })
    for (const [shard, memory] of this.#memories.entries()) {
      const table = (this.#plan.shards[shard]?.pageTables ?? 0) + sequence * tablePages(this.#plan.limits) * 4
      const addresses = slots.map(slot => this.#address(shard, slot))
      new Uint32Array(memory.buffer).set(addresses, table / 4)
    }
    return sequence
  }

  close(sequence: number): void {
    this.#free.push(...(this.#sequences.get(sequence)?.slots ?? []))
    this.#sequences.delete(sequence)
    this.#left?.resolve()
  }

  /** Tells that a position is written; hashing of a page that it filled begins. */
  written(sequence: number, position: number): void {
    if (!this.#hashesAhead || position % PAGE_ROWS !== PAGE_ROWS - 1) return
    const open = this.#sequences.get(sequence)
    const page = Math.floor(position / PAGE_ROWS)
    open?.digests.set(page, this.#digest(open.slots[page] as number, PAGE_ROWS))
  }

  /** Leaf hashes of the sequence's pages in the order of the K/V tree, when positions 0..written−1 count. */
  async leaves(sequence: number, written: number): Promise<Uint8Array[]> {
    const { slots, digests } = this.#sequences.get(sequence) as Sequence
    const hashed = await Promise.all(
      slots.slice(0, Math.ceil(written / PAGE_ROWS)).map((slot, page) => {
        const rows = Math.min(PAGE_ROWS, written - page * PAGE_ROWS)
        return (rows === PAGE_ROWS && digests.get(page)) || this.#digest(slot, rows)
      }),
    )
    return hashed.flatMap(all =>
      Array.from({ length: all.length / 32 }, (_, i) => all.subarray(i * 32, i * 32 + 32)),
    )
  }

  /** Copies of the sequence's pages in the order of the K/V tree, when positions 0..written−1 count. */
  pages(sequence: number, written: number): Uint8Array[] {
    const { slots } = this.#sequences.get(sequence) as Sequence
    const length = this.#pageBytes
    return slots.slice(0, Math.ceil(written / PAGE_ROWS)).flatMap((slot, page) => {
      const rows = Math.min(PAGE_ROWS, written - page * PAGE_ROWS)
      return this.#memories.flatMap((memory, shard) => {
        const bytes = this.#plan.shards[shard]?.slotBytes ?? 0
        const all = new Uint8Array(memory.buffer, this.#address(shard, slot), bytes)
        return Array.from({ length: bytes / length }, (_, i) =>
          firstRows(all.subarray(i * length, (i + 1) * length), rows),
        )
      })
    })
  }

  async end(): Promise<void> {
    await this.#digester.close()
  }

  #address(shard: number, slot: number): number {
    const { slots, slotBytes } = this.#plan.shards[shard] ?? { slots: 0, slotBytes: 0 }
    return slots + slot * slotBytes
  }

  #digest(slot: number, rows: number): Promise<Uint8Array> {
    return this.#digester.digest(
      this.#memories.map((_, shard) => this.#address(shard, slot)),
      rows,
    )
  }
}

/** Waits for what never fails. Errors: `aborted` as soon as the signal fires. */
const orAborted = (promise: Promise<void>, signal: AbortSignal): Promise<void> =>
  raceAbort(promise, signal).catch(cause => {
    throw new ApusError('aborted', 'The run was stopped.', { retry: true, cause })
  })
