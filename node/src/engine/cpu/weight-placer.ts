import { ApusError } from '@apus/shared'
import {
  type BundleLayout,
  GROUP,
  LEAF_VALUES,
  type Manifest,
  SEGMENT,
  type Tensor,
  tileOf,
} from '@apus/shared/machine'
import type { Kernels } from './kernels.ts'
import type { MemoryPlan, TensorPlace } from './memory-plan.ts'

const MAX_FREQUENCY = 1n << 44n
const MAX_GAIN = 2 ** 30 - 1
const MIN_SHIFT = 1
const MAX_SHIFT = 56
/** Bounds of shift − 2 − residual for rows that also serve as embeddings. */
const MIN_EMBEDDING_SHIFT = -12
const MAX_EMBEDDING_SHIFT = 30

export interface LoadedShard {
  readonly memory: WebAssembly.Memory
  readonly kernels: Kernels
}

/** Puts one leaf where the plan wants it. Errors: `bundle-invalid`. */
type Place = (leaf: Uint8Array) => void

/**
 * Puts the leaves of a bundle's weights into the shards. Errors: `bundle-invalid` for a leaf of another length or with numbers
 * that the machine's bounds do not cover.
 */
export class WeightPlacer {
  readonly #places = new Map<number, Place>()

  constructor(manifest: Manifest, layout: BundleLayout, plan: MemoryPlan, shards: readonly LoadedShard[]) {
    const shardOf = (index: number): LoadedShard => shards[index] as LoadedShard
    this.#places.set(layout.frequencies, leaf => placeFrequencies(leaf, manifest, plan, shards))
    const { embedding, layers, head } = plan
    for (const [l, { shard, firstGains, secondGains }] of layers.entries()) {
      this.#gains(layout, 2 * l, manifest.width, shardOf(shard), firstGains)
      this.#gains(layout, 2 * l + 1, manifest.width, shardOf(shard), secondGains)
    }
    this.#gains(layout, 2 * layers.length, manifest.width, shardOf(head.shard), head.gains)
    const stage = (index: number): number => plan.shards[index]?.tile ?? 0
    this.#tiles(
      layout.embedding,
      embedding,
      shardOf(embedding.shard),
      stage(embedding.shard),
      manifest.formats.residual,
    )
    if (!manifest.tied) this.#tiles(layout.output, head.output, shardOf(head.shard), stage(head.shard))
    for (const [l, tensors] of layout.layers.entries()) {
      const places = layers[l]
      if (places === undefined) throw new RangeError('the plan has fewer layers than the bundle')
      for (const kind of ['qkv', 'o', 'gateUp', 'down'] as const) {
        this.#tiles(tensors[kind], places[kind], shardOf(places.shard), stage(places.shard))
      }
    }
  }

  /** Takes a leaf; those that are no weights are ignored. */
  place(index: number, leaf: Uint8Array): void {
    const place = this.#places.get(index)
    if (place === undefined) return
    try {
      place(leaf)
    } catch (cause) {
      throw new ApusError(
        'bundle-invalid',
        `The leaf ${index} of the bundle is not what the machine allows.`,
        {
          cause,
        },
      )
    }
    this.#places.delete(index)
  }

  /** Weight leaves that have not come. */
  get missing(): number {
    return this.#places.size
  }

  #gains(layout: BundleLayout, norm: number, width: number, { memory }: LoadedShard, address: number): void {
    for (let i = 0; i < layout.gainLeaves; i++) {
      const at = address + i * LEAF_VALUES * 4
      const count = Math.min(LEAF_VALUES, width - i * LEAF_VALUES)
      this.#places.set(layout.gains(norm) + i, leaf => {
        requireThat(leaf.length === count * 4)
        new Uint8Array(memory.buffer).set(leaf, at)
        requireThat(new Int32Array(memory.buffer, at, count).every(g => Math.abs(g) <= MAX_GAIN))
      })
    }
  }

  /** A tile is checked at `stage` and packed into the tensor. `residual` is given for a tensor that serves as the embedding. */
  #tiles(
    tensor: Tensor,
    { address }: TensorPlace,
    { memory, kernels }: LoadedShard,
    stage: number,
    residual?: number,
  ): void {
    const { rows, columns: n, segments, tileRows } = tensor
    const padded = Math.ceil(n / GROUP) * GROUP
    const embeds = residual !== undefined
    const minShift = embeds ? Math.max(MIN_SHIFT, MIN_EMBEDDING_SHIFT + 2 + residual) : MIN_SHIFT
    const maxShift = embeds ? Math.min(MAX_SHIFT, MAX_EMBEDDING_SHIFT + 2 + residual) : MAX_SHIFT
    for (let row = 0; row < rows; row += tileRows) {
      for (let segment = 0; segment < segments; segment++) {
        const { leaf, rows: here, columns } = tileOf(tensor, row, segment)
        const used = Math.min(columns, n - segment * SEGMENT)
        const biased = embeds || segment > 0 ? 0 : 1
        this.#places.set(leaf, tile => {
          requireThat(tile.length === here * (columns + columns / 16 + 5))
          new Uint8Array(memory.buffer).set(tile, stage)
          requireThat(kernels.tileInDomain(stage, here, columns, used, minShift, maxShift, biased) === 1)
          requireThat(kernels.packTile(stage, here, segment, row, address, padded) === 1)
        })
      }
    }
  }
}

function requireThat(condition: boolean): void {
  if (!condition) throw new RangeError('outside the domain of the machine')
}

function placeFrequencies(
  leaf: Uint8Array,
  manifest: Manifest,
  plan: MemoryPlan,
  shards: readonly LoadedShard[],
): void {
  requireThat(leaf.length === manifest.headSize * 4)
  requireThat(new BigUint64Array(Uint8Array.from(leaf).buffer).every(f => f < MAX_FREQUENCY))
  for (const [i, { memory }] of shards.entries()) {
    new Uint8Array(memory.buffer).set(leaf, plan.shards[i]?.frequencies)
  }
}
