import { ApusError } from '@apus/shared'
import { instantiateKernels } from './kernels.ts'
import { type LoadedShard, loadWeights } from './load-weights.ts'
import { type MemoryPlan, planMemory, SHARD_LIMIT } from './memory-plan.ts'
import {
  type Limits,
  type ModelShape,
  PAGE_ROWS,
  SETTINGS_WORDS,
  slotBytes,
  tablePages,
} from './model-shape.ts'
import { PageDigester } from './page-digester.ts'
import { ThreadTeam } from './thread-team.ts'

/** Prompt positions computed together: past some tens, the weights are no longer what is waited for. */
const PREFILL_COLUMNS = 32
/** Sequences computed together at most. */
const SEQUENCES = 16
/** Memory for keys and values unless told otherwise. */
const CACHE_BYTES = 2 ** 30

/** Settings of the machine's sampler with the words of its noise key. Fractions are Q16. */
export interface SamplerWords {
  readonly temperature: number
  readonly topK: number
  readonly topP: number
  readonly repetition: number
  readonly frequency: number
  readonly presence: number
  readonly key: readonly [number, number]
}

/** A position whose token is fed and whose successor is chosen. */
export interface HeadColumn {
  readonly sequence: number
  readonly position: number
  readonly token: number
  readonly sampler: SamplerWords
  /** The tokens that penalties look back on, at most 64; empty without penalties. */
  readonly window: readonly number[]
}

export interface Chosen {
  readonly token: number
  /** The residual after the last layer, i32 little-endian. */
  readonly xFinal: Uint8Array
}

export interface CpuOptions {
  readonly threads: number
  /** Memory for keys and values. */
  readonly cacheBytes?: number
  readonly prefillColumns?: number
  /** Bytes of one WebAssembly memory at most. */
  readonly shardLimit?: number
}

interface Sequence {
  readonly slots: readonly number[]
  /** Leaf hashes of full pages, as they become full. */
  readonly digests: Map<number, Promise<Uint8Array>>
}

/** A model in memory with the threads that run it. Calls are computed in the order they are made. */
export class CpuModel {
  readonly shape: ModelShape
  readonly limits: Limits
  readonly #plan: MemoryPlan
  readonly #memories: readonly WebAssembly.Memory[]
  readonly #team: ThreadTeam
  readonly #digester: PageDigester
  readonly #sequences = new Map<number, Sequence>()
  readonly #freeSlots: number[]

  private constructor(shape: ModelShape, plan: MemoryPlan, memories: readonly WebAssembly.Memory[]) {
    this.shape = shape
    this.limits = plan.limits
    this.#plan = plan
    this.#memories = memories
    this.#team = new ThreadTeam(shape, plan, memories)
    this.#digester = new PageDigester({
      memories,
      slotBytes: plan.shards.map(shard => shard.slotBytes),
      headSize: shape.headSize,
    })
    this.#freeSlots = Array.from({ length: plan.slots }, (_, i) => plan.slots - 1 - i)
  }

  /**
   * Loads the weights from a bundle's leaves, in order from the manifest on, each already checked against the root.
   * Errors: `out-of-memory`, `bundle-corrupt`.
   */
  static async load(
    shape: ModelShape,
    leaves: AsyncIterable<readonly [index: number, leaf: Uint8Array]>,
    tables: readonly Uint32Array[],
    options: CpuOptions,
  ): Promise<CpuModel> {
    const { threads, cacheBytes = CACHE_BYTES, prefillColumns = PREFILL_COLUMNS, shardLimit } = options
    const affordable = Math.max(1, Math.floor(cacheBytes / slotBytes(shape)))
    const pagesOfContext = Math.ceil(shape.context / PAGE_ROWS)
    const slots = Math.min(affordable, pagesOfContext * SEQUENCES)
    const limits: Limits = {
      columns: Math.max(prefillColumns, SEQUENCES),
      heads: SEQUENCES,
      sequences: SEQUENCES,
      positions: Math.min(shape.context, slots * PAGE_ROWS),
      threads,
    }
    const plan = planMemory(shape, limits, slots, instantiateKernels(allocate(1)), shardLimit ?? SHARD_LIMIT)
    const shards = plan.shards.map(({ bytes }): LoadedShard => {
      const memory = allocate(bytes)
      const kernels = instantiateKernels(memory)
      for (const [i, table] of tables.entries()) {
        new Uint32Array(memory.buffer).set(table, kernels.tableAddress(i) / 4)
      }
      return { memory, kernels }
    })
    await loadWeights(shape, plan, shards, leaves)
    return new CpuModel(
      shape,
      plan,
      shards.map(({ memory }) => memory),
    )
  }

  /** A sequence with room for `positions`. Errors: `context-full` when the other sequences hold the memory. */
  openSequence(positions: number): number {
    const needed = Math.ceil(positions / PAGE_ROWS)
    let sequence = 0
    while (this.#sequences.has(sequence)) sequence++
    if (
      positions > this.limits.positions ||
      sequence >= this.limits.sequences ||
      needed > this.#freeSlots.length
    ) {
      throw new ApusError('context-full', `There is no room for a sequence of ${positions} positions.`, {
        retry: positions <= this.limits.positions,
      })
    }
    const slots = this.#freeSlots.splice(this.#freeSlots.length - needed, needed)
    this.#sequences.set(sequence, { slots, digests: new Map() })
    for (const [i, memory] of this.#memories.entries()) {
      const table = (this.#plan.shards[i]?.pageTables ?? 0) + sequence * tablePages(this.limits) * 4
      const addresses = slots.map(slot => this.#slotIn(i, slot))
      new Uint32Array(memory.buffer).set(addresses, table / 4)
    }
    return sequence
  }

  closeSequence(sequence: number): void {
    this.#freeSlots.push(...(this.#sequences.get(sequence)?.slots ?? []))
    this.#sequences.delete(sequence)
  }

  /** Feeds tokens at consecutive positions, at most `limits.columns`; nothing is chosen. */
  async prefill(sequence: number, position: number, tokens: readonly number[]): Promise<void> {
    const columns = tokens.map((token, i) => ({ sequence, position: position + i, token }))
    await this.#team.compute(
      columns,
      0,
      () => {},
      () => this.#sealPages(columns),
    )
  }

  /** Computes one position of each of several sequences and chooses what follows. */
  decode(columns: readonly HeadColumn[]): Promise<Chosen[]> {
    const { head, shards } = this.#plan
    const memory = this.#memories[head.shard] as WebAssembly.Memory
    const words = new Int32Array(memory.buffer)
    const bytes = this.shape.width * 4
    const at = (column: number): number => head.settings / 4 + column * SETTINGS_WORDS
    return this.#team.compute(
      columns,
      columns.length,
      () => {
        for (const [i, column] of columns.entries()) words.set(settingsOf(column), at(i))
      },
      () => {
        this.#sealPages(columns)
        const x = shards[head.shard]?.x ?? 0
        return columns.map((_, i) => ({
          token: words[at(i)] as number,
          xFinal: Uint8Array.from(new Uint8Array(memory.buffer, x + i * bytes, bytes)),
        }))
      },
    )
  }

  /** Leaf hashes of the sequence's pages in the order of the K/V tree, when positions 0..written−1 count. */
  async pageDigests(sequence: number, written: number): Promise<Uint8Array[]> {
    const { slots, digests } = this.#open(sequence)
    const pages = Math.ceil(written / PAGE_ROWS)
    const hashed = await Promise.all(
      slots.slice(0, pages).map((slot, page) => {
        const rows = Math.min(PAGE_ROWS, written - page * PAGE_ROWS)
        return rows === PAGE_ROWS ? (digests.get(page) ?? this.#digest(slot, rows)) : this.#digest(slot, rows)
      }),
    )
    return hashed.flatMap(all =>
      Array.from({ length: all.length / 32 }, (_, i) => all.subarray(i * 32, i * 32 + 32)),
    )
  }

  async close(): Promise<void> {
    await this.#team.close()
    await this.#digester.close()
  }

  #open(sequence: number): Sequence {
    const open = this.#sequences.get(sequence)
    if (open === undefined) throw new RangeError('the sequence is not open')
    return open
  }

  #slotIn(shard: number, slot: number): number {
    const { slots, slotBytes } = this.#plan.shards[shard] ?? { slots: 0, slotBytes: 0 }
    return slots + slot * slotBytes
  }

  #digest(slot: number, rows: number): Promise<Uint8Array> {
    return this.#digester.digest(
      this.#memories.map((_, i) => this.#slotIn(i, slot)),
      rows,
    )
  }

  /** Starts hashing the pages that these columns filled. */
  #sealPages(columns: readonly { sequence: number; position: number }[]): void {
    for (const { sequence, position } of columns) {
      if (position % PAGE_ROWS !== PAGE_ROWS - 1) continue
      const { slots, digests } = this.#open(sequence)
      const page = Math.floor(position / PAGE_ROWS)
      digests.set(page, this.#digest(slots[page] as number, PAGE_ROWS))
    }
  }
}

function allocate(bytes: number): WebAssembly.Memory {
  const pages = Math.ceil(bytes / 65_536)
  try {
    return new WebAssembly.Memory({ initial: pages, maximum: pages, shared: true })
  } catch (cause) {
    throw new ApusError('out-of-memory', 'There is not enough memory for the model.', { cause })
  }
}

function settingsOf({ sampler, window, position }: HeadColumn): Int32Array {
  const { temperature, topK, topP, repetition, frequency, presence, key } = sampler
  return Int32Array.of(
    temperature,
    topK,
    topP,
    repetition,
    frequency,
    presence,
    window.length,
    key[0],
    key[1],
    position + 1,
    ...window,
  )
}
