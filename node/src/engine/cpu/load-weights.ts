import { ApusError } from '@apus/shared'
import type { Kernels } from './kernels.ts'
import type { MemoryPlan, TensorPlace } from './memory-plan.ts'
import type { ModelShape } from './model-shape.ts'

const GAINS_PER_LEAF = 1024
const SEGMENT = 8192
const MAX_GAIN = 2 ** 30 - 1
const MAX_FREQUENCY = 1n << 44n
const MIN_SHIFT = 1
const MAX_SHIFT = 56
/** Bounds of shift − 2 − residual for rows that also serve as embeddings. */
const MIN_EMBEDDING_SHIFT = -12
const MAX_EMBEDDING_SHIFT = 30

/** Where a leaf goes, and whether its numbers are within the machine's domain. */
interface Destination {
  readonly shard: number
  readonly address: number
  readonly bytes: number
  inDomain(): boolean
}

export interface LoadedShard {
  readonly memory: WebAssembly.Memory
  readonly kernels: Kernels
}

/**
 * Copies a bundle's leaves (in order, from the manifest on) into the shards. Leaves behind the weights are left to the caller.
 * Errors: `bundle-corrupt` for a leaf of another length or with numbers that the machine's bounds do not cover.
 */
export async function loadWeights(
  shape: ModelShape,
  plan: MemoryPlan,
  shards: readonly LoadedShard[],
  leaves: AsyncIterable<readonly [index: number, leaf: Uint8Array]>,
): Promise<void> {
  const refused = (index: number): ApusError =>
    new ApusError('bundle-corrupt', `The leaf ${index} of the bundle is not what the machine allows.`)
  const destinations = weightLeaves(shape, plan, shards)
  for await (const [index, leaf] of leaves) {
    if (index === 0) continue
    if (index === 1) {
      if (leaf.length !== shape.headSize * 4) throw refused(index)
      const frequencies = new BigUint64Array(Uint8Array.from(leaf).buffer)
      if (frequencies.some(f => f >= MAX_FREQUENCY)) throw refused(index)
      for (const [i, { memory }] of shards.entries()) {
        new Uint8Array(memory.buffer).set(leaf, plan.shards[i]?.frequencies)
      }
      continue
    }
    const next = destinations.next()
    if (next.done) return
    const { shard, address, bytes, inDomain } = next.value
    if (leaf.length !== bytes) throw refused(index)
    new Uint8Array((shards[shard] as LoadedShard).memory.buffer).set(leaf, address)
    if (!inDomain()) throw refused(index)
  }
  if (!destinations.next().done) throw new ApusError('bundle-corrupt', 'The bundle has too few leaves.')
}

function* weightLeaves(
  shape: ModelShape,
  plan: MemoryPlan,
  shards: readonly LoadedShard[],
): Generator<Destination> {
  const { embedding, layers, head } = plan
  for (const { shard, firstGains, secondGains } of layers) {
    yield* gains(shape.width, shard, firstGains, shards)
    yield* gains(shape.width, shard, secondGains, shards)
  }
  yield* gains(shape.width, head.shard, head.gains, shards)
  if (!shape.tied) yield* tiles(embedding, embedding.shard, shards, shape.formats.residual)
  yield* tiles(head.output, head.shard, shards, shape.tied ? shape.formats.residual : undefined)
  for (const { shard, qkv, o, gateUp, down } of layers) {
    for (const tensor of [qkv, o, gateUp, down]) yield* tiles(tensor, shard, shards)
  }
}

function* gains(
  width: number,
  shard: number,
  address: number,
  shards: readonly LoadedShard[],
): Generator<Destination> {
  const { memory } = shards[shard] as LoadedShard
  for (let i = 0; i < width; i += GAINS_PER_LEAF) {
    const count = Math.min(GAINS_PER_LEAF, width - i)
    const at = address + i * 4
    yield {
      shard,
      address: at,
      bytes: count * 4,
      inDomain: () => new Int32Array(memory.buffer, at, count).every(g => Math.abs(g) <= MAX_GAIN),
    }
  }
}

/** `residual` is given for a tensor that serves as the embedding. */
function* tiles(
  { address, rows, n }: TensorPlace,
  shard: number,
  shards: readonly LoadedShard[],
  residual?: number,
): Generator<Destination> {
  const { kernels } = shards[shard] as LoadedShard
  const columns = Math.ceil(n / 32) * 32
  const perBlock = kernels.blockRows(columns)
  const blockBytes = kernels.blockBytes(columns)
  const embeds = residual !== undefined
  const minShift = embeds ? Math.max(MIN_SHIFT, MIN_EMBEDDING_SHIFT + 2 + residual) : MIN_SHIFT
  const maxShift = embeds ? Math.min(MAX_SHIFT, MAX_EMBEDDING_SHIFT + 2 + residual) : MAX_SHIFT
  for (let block = 0; block * perBlock < rows; block++) {
    const here = Math.min(perBlock, rows - block * perBlock)
    let tile = address + block * blockBytes
    for (let from = 0; from < columns; from += SEGMENT) {
      const wide = Math.min(SEGMENT, columns - from)
      const bytes = here * (wide + wide / 16 + 5)
      const at = tile
      yield {
        shard,
        address: at,
        bytes,
        inDomain: () =>
          kernels.tileInDomain(
            at,
            here,
            wide,
            Math.min(wide, n - from),
            minShift,
            maxShift,
            embeds || from > 0 ? 0 : 1,
          ) === 1,
      }
      tile += Math.ceil(bytes / 16) * 16
    }
  }
}
