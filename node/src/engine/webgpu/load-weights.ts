import {
  bundleLayout,
  decodePieces,
  decodeTile,
  GROUP,
  type Manifest,
  piecesInLeaf,
  SEGMENT,
  type Tensor,
  type Tile,
  tileOf,
} from '@apus/shared/machine'
import type { GpuDevice } from './gpu-device.ts'
import type { GpuTensor, TensorRows } from './gpu-tensor.ts'
import type { GpuWeights } from './gpu-weights.ts'
import type { LeafStream } from './leaf-stream.ts'

/** Rows are gathered into parts of about this many bytes before they are sent. */
const PART_BYTES = 4 << 20
/** The driver keeps what is sent until it is told to wait for it. */
const FLUSH_BYTES = 256 << 20
const MAX_MULTIPLIER = 2047
const MAX_VALUE = 2 ** 30 - 1
const MIN_SHIFT = 1
const MAX_SHIFT = 56
/** Bounds of shift − 2 − residual for rows that also serve as embeddings. */
const MIN_EMBEDDING_SHIFT = -12
const MAX_EMBEDDING_SHIFT = 30
const MAX_FREQUENCY = 1n << 44n

/** Sends a bundle's weights to the device: all leaves from the frequencies to the last tile. Errors: `bundle-invalid`. */
export async function loadWeights(
  gpu: GpuDevice,
  weights: GpuWeights,
  manifest: Manifest,
  leaves: LeafStream,
): Promise<void> {
  const layout = bundleLayout(manifest)
  let pending = 0
  const fill = async (target: GpuTensor, tensor: Tensor, embeds = false) => {
    const bounds = shiftBounds(embeds ? manifest.formats.residual : undefined)
    const perPart = Math.max(1, Math.floor(PART_BYTES / (target.padded * tensor.tileRows))) * tensor.tileRows
    for (let from = 0; from < tensor.rows; from += perPart) {
      const to = Math.min(tensor.rows, from + perPart)
      target.fill(from, await gather(leaves, tensor, target.padded, from, to, bounds, embeds))
      pending += (to - from) * target.padded
      if (pending > FLUSH_BYTES) {
        await gpu.finish()
        pending = 0
      }
    }
  }
  const gains = async (buffer: GPUBuffer) => {
    const parts: Uint8Array[] = []
    while (parts.length < layout.gainLeaves) parts.push(await leaves.take())
    const values = new Int32Array(Uint8Array.from(Buffer.concat(parts)).buffer)
    if (values.length !== manifest.width || values.some(v => Math.abs(v) > MAX_VALUE)) throw leaves.refuse()
    gpu.write(buffer, 0, values)
  }
  const frequencies = await leaves.take()
  if (frequencies.length !== manifest.headSize * 4) throw leaves.refuse()
  const turns = new BigUint64Array(Uint8Array.from(frequencies).buffer)
  if (turns.some(f => f >= MAX_FREQUENCY)) throw leaves.refuse()
  gpu.write(weights.frequencies, 0, turns)
  for (const { firstGains, secondGains } of weights.layers) {
    await gains(firstGains)
    await gains(secondGains)
  }
  await gains(weights.finalGains)
  if (!manifest.tied) await fill(weights.embedding, layout.embedding, true)
  await fill(weights.output, layout.output, manifest.tied)
  for (const [i, tensors] of layout.layers.entries()) {
    for (const kind of ['qkv', 'o', 'gateUp', 'down'] as const) {
      const target = weights.layers[i]?.[kind]
      if (target !== undefined) await fill(target, tensors[kind])
    }
  }
  await gpu.finish()
}

/** The pieces of all tokens, which follow the weights. Errors: `bundle-invalid`. */
export async function loadPieces(manifest: Manifest, leaves: LeafStream): Promise<Uint8Array[]> {
  const { pieces, tokenizer } = bundleLayout(manifest)
  const found: Uint8Array[] = []
  for (let i = 0; i < tokenizer - pieces; i++) {
    const leaf = Uint8Array.from(await leaves.take())
    found.push(...decodePieces(leaf, piecesInLeaf(manifest.vocab, i)))
  }
  return found
}

type Bounds = readonly [least: number, most: number]

const shiftBounds = (residual: number | undefined): Bounds =>
  residual === undefined
    ? [MIN_SHIFT, MAX_SHIFT]
    : [
        Math.max(MIN_SHIFT, MIN_EMBEDDING_SHIFT + 2 + residual),
        Math.min(MAX_SHIFT, MAX_EMBEDDING_SHIFT + 2 + residual),
      ]

/** Rows `from`..`to`-1 (whole tiles) with their segments side by side. */
async function gather(
  leaves: LeafStream,
  tensor: Tensor,
  padded: number,
  from: number,
  to: number,
  bounds: Bounds,
  embeds: boolean,
): Promise<TensorRows> {
  const rows = to - from
  const weights = new Int8Array(rows * padded)
  const multipliers = new Uint16Array((rows * padded) / GROUP)
  const shifts = new Uint8Array(rows)
  const biases = new Int32Array(rows)
  for (let row = from; row < to; row += tensor.tileRows) {
    for (let segment = 0; segment < tensor.segments; segment++) {
      const address = tileOf(tensor, row, segment)
      const tile = await takeTile(leaves, address.rows, address.columns)
      const used = Math.min(address.columns, tensor.columns - segment * SEGMENT)
      if (!inDomain(tile, used, bounds, segment === 0 && !embeds)) throw leaves.refuse()
      const first = row - from
      if (segment === 0) {
        shifts.set(tile.shifts, first)
        biases.set(tile.biases, first)
      } else if (tile.shifts.some((s, r) => s !== shifts[first + r])) throw leaves.refuse()
      for (let r = 0; r < tile.rows; r++) {
        const at = (first + r) * padded + segment * SEGMENT
        weights.set(tile.weights.subarray(r * tile.columns, (r + 1) * tile.columns), at)
        const groups = tile.columns / GROUP
        multipliers.set(tile.multipliers.subarray(r * groups, (r + 1) * groups), at / GROUP)
      }
    }
  }
  return { weights, multipliers, shifts, biases }
}

async function takeTile(leaves: LeafStream, rows: number, columns: number): Promise<Tile> {
  const leaf = await leaves.take()
  try {
    // A copy of plain bytes: a view of a pooled Node buffer may begin at an odd address.
    return decodeTile(Uint8Array.from(leaf), rows, columns)
  } catch (cause) {
    throw leaves.refuse(cause)
  }
}

/** The limits of SPEC.md section 5; `used` columns are real, the rest padding. */
function inDomain(tile: Tile, used: number, [least, most]: Bounds, biased: boolean): boolean {
  const { weights, multipliers, shifts, biases, columns, rows } = tile
  if (weights.includes(-128)) return false
  if (multipliers.some(m => m > MAX_MULTIPLIER)) return false
  if (shifts.some(s => s < least || s > most)) return false
  if (biases.some(b => Math.abs(b) > (biased ? MAX_VALUE : 0))) return false
  for (let r = 0; used < columns && r < rows; r++) {
    if (weights.subarray(r * columns + used, (r + 1) * columns).some(w => w !== 0)) return false
  }
  return true
}
