import { PAGE_ROWS } from '@apus/shared/machine'
import { MAX_PENALTY_WINDOW } from '@apus/shared/protocol'
import type { GpuDevice } from './gpu-device.ts'
import {
  blocksOf,
  MAX_TILES,
  type ModelShape,
  pageWords,
  partialWords,
  residualStride,
} from './model-shape.ts'
import { DIGEST_REQUEST_WORDS } from './page-digest-request.ts'

/** What one model instance holds beside its weights. */
export interface GpuState {
  readonly sizes: StateSizes
  /** Per column: token, position, sequence, pages of the columns before it. */
  readonly columns: GPUBuffer
  readonly x: GPUBuffer
  readonly quants: GPUBuffer
  readonly scales: GPUBuffer
  /** Output of the qkv and gate_up linears. */
  readonly y: GPUBuffer
  readonly queries: GPUBuffer
  readonly partials: GPUBuffer
  readonly logits: GPUBuffer
  readonly tiles: GPUBuffer
  readonly peaks: GPUBuffer
  readonly keptLimits: GPUBuffer
  readonly results: GPUBuffer
  /** Per sequence. */
  readonly samplers: GPUBuffer
  readonly history: GPUBuffer
  readonly chosen: GPUBuffer
  readonly pageTable: GPUBuffer
  /** Per layer: [slot][kv head][kind] pages. */
  readonly pages: readonly GPUBuffer[]
  readonly tables: GPUBuffer
  /** What `kernels/shape.wgsl` says. */
  readonly shape: GPUBuffer
  readonly digestRequests: readonly GPUBuffer[]
  readonly digests: GPUBuffer
}

export interface StateSizes {
  /** Sequences that may live at once. */
  readonly sequences: number
  /** Positions that all sequences together may hold. */
  readonly positions: number
  /** Columns of one batch at most, a multiple of those that a linear computes at once. */
  readonly columns: number
}

/** Partial attention results of a prefill batch; larger batches are cut so that this is enough. */
const PARTIAL_BYTES = 32 << 20

export const SAMPLER_WORDS = 16

export const slotsOf = (sizes: StateSizes): number => Math.ceil(sizes.positions / PAGE_ROWS) + sizes.sequences
export const tablePages = (shape: ModelShape): number => Math.ceil(shape.context / PAGE_ROWS)

/** Pages of all columns of a batch together whose partial results fit. */
export const partialPages = (shape: ModelShape, state: GpuState): number =>
  Math.floor(state.partials.size / (shape.heads * partialWords(shape.headSize) * 4))

function shapeWords(shape: ModelShape): Uint32Array<ArrayBuffer> {
  const { width, heads, kvHeads, headSize, hidden, vocab, layers, epsilon, formats } = shape
  return Uint32Array.of(
    width,
    residualStride(width),
    heads,
    kvHeads,
    headSize,
    hidden,
    vocab,
    layers,
    tablePages(shape),
    epsilon % 2 ** 32,
    Math.floor(epsilon / 2 ** 32),
    formats.residual,
    formats.qk,
    formats.gate,
    2 * formats.gate - formats.hidden,
    0,
  )
}

/** Errors: `gpu-out-of-memory`. */
export async function allocateState(
  gpu: GpuDevice,
  shape: ModelShape,
  sizes: StateSizes,
  tables: Uint32Array<ArrayBuffer>,
): Promise<GpuState> {
  const usage = GPUBufferUsage.STORAGE | GPUBufferUsage.COPY_DST | GPUBufferUsage.COPY_SRC
  const words = (label: string, count: number) => gpu.allocate(label, count * 4, usage)
  const { width, heads, kvHeads, headSize, hidden } = shape
  const widest = Math.max(blocksOf(width), blocksOf(heads * headSize), blocksOf(hidden))
  const decodePartials = heads * slotsOf(sizes) * partialWords(headSize)
  const page = pageWords(headSize)
  const units = kvHeads * 2
  const pages: GPUBuffer[] = []
  const digestRequests: GPUBuffer[] = []
  for (let layer = 0; layer < shape.layers; layer++) {
    pages.push(await words(`layer ${layer} keys and values`, slotsOf(sizes) * units * page))
    digestRequests.push(await words(`layer ${layer} digest request`, DIGEST_REQUEST_WORDS))
  }
  return {
    sizes,
    columns: await words('columns', sizes.columns * 4),
    x: await words('residual', sizes.columns * residualStride(width)),
    quants: await words('quants', sizes.columns * 2 * widest * 64),
    scales: await words('scales', sizes.columns * 2 * widest),
    y: await words('projections', sizes.columns * Math.max((heads + units) * headSize, 2 * hidden)),
    queries: await words('queries', sizes.columns * heads * (headSize + 4)),
    partials: await words('attention partials', Math.max(PARTIAL_BYTES / 4, decodePartials)),
    logits: await words('logits', sizes.columns * shape.vocab),
    tiles: await words('tiles', sizes.sequences * MAX_TILES * 2),
    peaks: await words('peaks', sizes.sequences * 2),
    keptLimits: await words('kept limits', sizes.sequences * 2),
    results: await words('results', sizes.sequences),
    samplers: await words('samplers', sizes.sequences * SAMPLER_WORDS),
    history: await words('history', sizes.sequences * MAX_PENALTY_WINDOW),
    chosen: await words('chosen', sizes.sequences),
    pageTable: await words('page table', sizes.sequences * tablePages(shape)),
    pages,
    tables: await gpu.upload('tables', tables),
    shape: await gpu.uploadUniform('shape', shapeWords(shape)),
    digestRequests,
    digests: await words('page digests', tablePages(shape) * shape.layers * units * 8),
  }
}

export function destroyState(state: GpuState): void {
  for (const part of Object.values(state)) {
    if (Array.isArray(part)) for (const buffer of part) buffer.destroy()
    else if (part instanceof GPUBuffer) part.destroy()
  }
}
