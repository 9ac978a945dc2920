import {
  type BundleLayout,
  GROUP,
  LEAF_VALUES,
  type Manifest,
  type Tensor,
  tileOf,
} from '@apus/shared/machine'
import type { Kernels } from './kernels.ts'
import type { MemoryPlan, TensorPlace } from './memory-plan.ts'

export interface LoadedShard {
  readonly memory: WebAssembly.Memory
  readonly kernels: Kernels
}

/** Puts one leaf where the plan wants it. */
type Place = (leaf: Uint8Array) => void

/** Puts the leaves of a bundle's weights, known to be in the machine's domain, into the shards. */
export class WeightPlacer {
  readonly #places = new Map<number, Place>()

  constructor(manifest: Manifest, layout: BundleLayout, plan: MemoryPlan, shards: readonly LoadedShard[]) {
    const shardOf = (index: number): LoadedShard => shards[index] as LoadedShard
    this.#places.set(layout.frequencies, leaf => placeFrequencies(leaf, plan, shards))
    const { embedding, layers, head } = plan
    for (const [l, { shard, firstGains, secondGains }] of layers.entries()) {
      this.#gains(layout, 2 * l, shardOf(shard), firstGains)
      this.#gains(layout, 2 * l + 1, shardOf(shard), secondGains)
    }
    this.#gains(layout, 2 * layers.length, shardOf(head.shard), head.gains)
    const stage = (index: number): number => plan.shards[index]?.tile ?? 0
    this.#tiles(layout.embedding, embedding, shardOf(embedding.shard), stage(embedding.shard))
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
    this.#places.get(index)?.(leaf)
  }

  #gains(layout: BundleLayout, norm: number, { memory }: LoadedShard, address: number): void {
    for (let i = 0; i < layout.gainLeaves; i++)
      this.#places.set(layout.gains(norm) + i, leaf =>
        new Uint8Array(memory.buffer).set(leaf, address + i * LEAF_VALUES * 4),
      )
  }

  /** A tile is put at `stage` and packed into the tensor. */
  #tiles(tensor: Tensor, { address }: TensorPlace, { memory, kernels }: LoadedShard, stage: number): void {
    const { rows, columns: n, segments, tileRows } = tensor
    const padded = Math.ceil(n / GROUP) * GROUP
    for (let row = 0; row < rows; row += tileRows) {
      for (let segment = 0; segment < segments; segment++) {
        const { leaf, rows: here } = tileOf(tensor, row, segment)
        this.#places.set(leaf, tile => {
          new Uint8Array(memory.buffer).set(tile, stage)
          kernels.packTile(stage, here, segment, row, address, padded)
        })
      }
    }
  }
}

function placeFrequencies(leaf: Uint8Array, plan: MemoryPlan, shards: readonly LoadedShard[]): void {
  for (const [i, { memory }] of shards.entries()) {
    new Uint8Array(memory.buffer).set(leaf, plan.shards[i]?.frequencies)
  }
}
