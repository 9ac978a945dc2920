import { ApusError } from '@apus/shared/kit'
import type { Manifest } from '@apus/shared/machine'
import type { Kernels } from './kernels.ts'
import { BLOCK_ROWS, type Limits, pageBytes, SETTINGS_WORDS, TILE_BYTES, tablePages } from './sizes.ts'

/** A WebAssembly memory is at most 4 GiB; the last page stays free, so that reads behind the end need no care. */
export const SHARD_LIMIT = 2 ** 32 - 2 ** 16
export interface TensorPlace {
  readonly address: number
  readonly rows: number
  /** Columns before padding. */
  readonly n: number
  readonly planes: number
}

export interface LayerPlace {
  readonly shard: number
  /** Index among the layers of its shard: pages of a slot stand in this order. */
  readonly index: number
  readonly firstGains: number
  readonly secondGains: number
  readonly qkv: TensorPlace
  readonly o: TensorPlace
  readonly gateUp: TensorPlace
  readonly down: TensorPlace
}

/** What every shard has besides weights. Addresses; areas of one column lie `…Stride` bytes apart. */
export interface Workspace {
  /** Where a bundle's tile lies before it is packed. */
  readonly tile: number
  readonly frequencies: number
  readonly angles: number
  readonly x: number
  readonly a8: number
  readonly a8Stride: number
  readonly rows: number
  readonly queries: number
  readonly exponents: number
  readonly attended: number
  readonly attendedStride: number
  /** Per sequence, u32 addresses of its slots in this shard. */
  readonly pageTables: number
  /** One for each thread. */
  readonly scratch: readonly number[]
  readonly slots: number
  readonly slotBytes: number
  /** Bytes of the whole memory. */
  readonly bytes: number
}

export interface HeadPlace {
  readonly shard: number
  readonly gains: number
  readonly output: TensorPlace
  readonly logits: number
  readonly settings: number
  /** One for each thread. */
  readonly masses: readonly number[]
}

export interface MemoryPlan {
  readonly shards: readonly Workspace[]
  readonly embedding: TensorPlace & { readonly shard: number }
  readonly layers: readonly LayerPlace[]
  readonly head: HeadPlace
  readonly limits: Limits
  /** Page slots that sequences share. */
  readonly slots: number
}

const align = (bytes: number): number => Math.ceil(bytes / 64) * 64

/**
 * Where everything of a model lies: consecutive stages share a memory as long as it holds them. Errors: `out-of-memory` when one
 * stage alone is larger than a memory.
 */
export function planMemory(
  shape: Manifest,
  limits: Limits,
  slots: number,
  kernels: Kernels,
  shardLimit = SHARD_LIMIT,
): MemoryPlan {
  const sizes = workspaceSizes(shape, limits, kernels)
  const { width, headSize, heads, kvHeads, hidden, vocab, planes } = shape
  const tensorBytes = (rows: number, n: number): number => {
    return Math.ceil(rows / BLOCK_ROWS) * kernels.blockBytes(Math.ceil(n / 32) * 32)
  }
  const layerTensors = {
    qkv: { rows: (heads + 2 * kvHeads) * headSize, n: width, planes: planes.qkv },
    o: { rows: width, n: heads * headSize, planes: planes.o },
    gateUp: { rows: 2 * hidden, n: width, planes: planes.gateUp },
    down: { rows: width, n: hidden, planes: planes.down },
  }
  const layerSlot = slots * kvHeads * 2 * pageBytes(shape)
  const layerBytes =
    2 * align(width * 4) +
    Object.values(layerTensors).reduce((sum, t) => sum + tensorBytes(t.rows, t.n), 0) +
    layerSlot
  const headExtra =
    align(width * 4) +
    align(limits.choosing * SETTINGS_WORDS * 4) +
    align(limits.choosing * vocab * 4) +
    limits.threads * align(vocab * 4)
  const outputBytes = tensorBytes(vocab, width)

  const used: number[] = []
  const layersIn: number[] = []
  const open = (): number => {
    used.push(sizes.first)
    layersIn.push(0)
    return used.length - 1
  }
  /** Bytes that the page slots of a shard's layers will need behind all weights. */
  const slotsOf = (shard: number): number => (layersIn[shard] as number) * layerSlot
  /** The shard for a stage of this many bytes: the newest one, or another. */
  const place = (bytes: number): number => {
    const newest = used.length - 1
    if (newest >= 0 && (used[newest] as number) + slotsOf(newest) + bytes <= shardLimit) return newest
    if (sizes.first + bytes > shardLimit) {
      throw new ApusError('out-of-memory', 'A part of this model does not fit into 4 GiB.', {
        details: { bytes },
      })
    }
    return open()
  }
  const take = (shard: number, bytes: number): number => {
    const at = used[shard] as number
    used[shard] = at + align(bytes)
    return at
  }
  const takeTensor = (shard: number, t: { rows: number; n: number; planes: number }): TensorPlace => ({
    ...t,
    address: take(shard, tensorBytes(t.rows, t.n)),
  })

  const vocabulary = { rows: vocab, n: width, planes: planes.output }
  const firstShard = place(outputBytes + (shape.tied ? headExtra : 0))
  const embedding = { shard: firstShard, ...takeTensor(firstShard, vocabulary) }
  const takeHead = (shard: number, output: TensorPlace): HeadPlace => ({
    shard,
    output,
    gains: take(shard, width * 4),
    settings: take(shard, limits.choosing * SETTINGS_WORDS * 4),
    logits: take(shard, limits.choosing * vocab * 4),
    masses: Array.from({ length: limits.threads }, () => take(shard, vocab * 4)),
  })
  const tiedHead = shape.tied ? takeHead(firstShard, embedding) : undefined
  const layers: LayerPlace[] = []
  for (let l = 0; l < shape.layers; l++) {
    const shard = place(layerBytes)
    const index = layersIn[shard] as number
    layersIn[shard] = index + 1
    layers.push({
      shard,
      index,
      firstGains: take(shard, width * 4),
      secondGains: take(shard, width * 4),
      qkv: takeTensor(shard, layerTensors.qkv),
      o: takeTensor(shard, layerTensors.o),
      gateUp: takeTensor(shard, layerTensors.gateUp),
      down: takeTensor(shard, layerTensors.down),
    })
  }
  let head = tiedHead
  if (head === undefined) {
    const shard = place(outputBytes + headExtra)
    head = takeHead(shard, takeTensor(shard, vocabulary))
  }
  return {
    embedding,
    layers,
    head,
    limits,
    slots,
    shards: used.map((weightsEnd, shard) => ({
      ...sizes.workspace,
      slots: weightsEnd,
      slotBytes: slotsOf(shard) / slots,
      bytes: weightsEnd + slotsOf(shard) + 64,
    })),
  }
}

/** The fixed part of a shard, with the address behind it. */
function workspaceSizes(shape: Manifest, limits: Limits, kernels: Kernels) {
  const { width, headSize, heads, kvHeads, hidden, planes, context } = shape
  const { columns, threads, sequences } = limits
  const attended = heads * headSize
  let at = Number(kernels.TABLES_END.value)
  const take = (bytes: number): number => {
    const address = align(at)
    at = address + bytes
    return address
  }
  const a8Stride = align(
    Math.max(
      kernels.planeBytes(width) * Math.max(planes.qkv, planes.gateUp, planes.output),
      kernels.planeBytes(attended) * planes.o,
      kernels.planeBytes(hidden) * planes.down,
    ),
  )
  const scratch = Math.max(
    64 * columns * 3 + 16,
    (Math.max(width, hidden) + 256) * 4 + Math.ceil(width / 32) * 8,
    kernels.attentionScratch(heads / kvHeads, headSize, Math.min(context, limits.positions)),
  )
  const attendedStride = Math.ceil(attended / 32) * 32 * 4
  const workspace = {
    tile: take(TILE_BYTES),
    frequencies: take(headSize * 4),
    angles: take(columns * headSize * 4),
    x: take(columns * width * 4),
    a8: take(columns * a8Stride),
    a8Stride,
    rows: take(columns * Math.max((heads + 2 * kvHeads) * headSize, 2 * hidden) * 4),
    queries: take(columns * attended * 2),
    exponents: take(columns * heads * 4),
    attended: take(columns * attendedStride),
    attendedStride,
    pageTables: take(sequences * tablePages(limits) * 4),
    scratch: Array.from({ length: threads }, () => take(scratch)),
  }
  return { workspace, first: align(at) }
}
