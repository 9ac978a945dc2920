import { ApusError } from '@apus/shared'
import {
  type BundleReader,
  bundleLayout,
  decodeTile,
  GROUP,
  type Manifest,
  SEGMENT,
  type Tensor,
  type Tile,
  tileOf,
} from '@apus/shared/machine'
import type { GpuDevice } from './gpu-device.ts'
import type { GpuTensor } from './gpu-tensor.ts'
import type { GpuWeights } from './gpu-weights.ts'

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

/** Sends a bundle's weights to the device. Errors: `bundle-invalid` for numbers outside the machine's bounds, `aborted`. */
export async function loadWeights(
  gpu: GpuDevice,
  weights: GpuWeights,
  manifest: Manifest,
  bundle: BundleReader,
  signal?: AbortSignal,
): Promise<void> {
  const layout = bundleLayout(manifest)
  let pending = 0
  const fill = async (target: GpuTensor, tensor: Tensor, embeds: boolean) => {
    const shifts = shiftBounds(embeds ? manifest.formats.residual : undefined)
    const perPart = Math.max(1, Math.floor(PART_BYTES / (target.padded * tensor.tileRows))) * tensor.tileRows
    for (let from = 0; from < tensor.rows; from += perPart) {
      if (signal?.aborted) throw new ApusError('aborted', 'The model was not loaded.', { retry: true })
      const to = Math.min(tensor.rows, from + perPart)
      target.fill(from, gather(bundle, tensor, target.padded, from, to, shifts, embeds))
      pending += (to - from) * target.padded
      if (pending > FLUSH_BYTES) {
        await gpu.finish()
        pending = 0
      }
    }
  }
  const gains = (buffer: GPUBuffer, norm: number) => {
    const first = layout.gains(norm)
    const leaves = Array.from({ length: layout.gainLeaves }, (_, i) => bundle.leaf(first + i))
    const values = new Int32Array(Uint8Array.from(Buffer.concat(leaves)).buffer)
    if (values.length !== manifest.width || values.some(v => Math.abs(v) > MAX_VALUE)) throw refused(first)
    gpu.write(buffer, 0, values)
  }
  const frequencies = new BigUint64Array(Uint8Array.from(bundle.leaf(layout.frequencies)).buffer)
  if (frequencies.length !== manifest.headSize / 2 || frequencies.some(f => f >= MAX_FREQUENCY)) {
    throw refused(layout.frequencies)
  }
  gpu.write(weights.frequencies, 0, frequencies)
  if (!manifest.tied) await fill(weights.embedding, layout.embedding, true)
  await fill(weights.output, layout.output, manifest.tied)
  for (const [i, layer] of weights.layers.entries()) {
    const tensors = layout.layers[i]
    if (tensors === undefined) throw refused(0)
    gains(layer.firstGains, 2 * i)
    gains(layer.secondGains, 2 * i + 1)
    for (const kind of ['qkv', 'o', 'gateUp', 'down'] as const) await fill(layer[kind], tensors[kind], false)
  }
  gains(weights.finalGains, 2 * manifest.layers)
  await gpu.finish()
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
function gather(
  bundle: BundleReader,
  tensor: Tensor,
  padded: number,
  from: number,
  to: number,
  shiftRange: Bounds,
  embeds: boolean,
) {
  const rows = to - from
  const weights = new Int8Array(rows * padded)
  const multipliers = new Uint16Array((rows * padded) / GROUP)
  const shifts = new Uint8Array(rows)
  const biases = new Int32Array(rows)
  for (let row = from; row < to; row += tensor.tileRows) {
    for (let segment = 0; segment < tensor.segments; segment++) {
      const address = tileOf(tensor, row, segment)
      const tile = readTile(bundle, address.leaf, address.rows, address.columns)
      const used = Math.min(address.columns, tensor.columns - segment * SEGMENT)
      const biased = segment === 0 && !embeds
      if (!inDomain(tile, used, shiftRange, biased)) throw refused(address.leaf)
      const first = row - from
      if (segment === 0) {
        shifts.set(tile.shifts, first)
        biases.set(tile.biases, first)
      } else if (tile.shifts.some((s, r) => s !== shifts[first + r])) throw refused(address.leaf)
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

function readTile(bundle: BundleReader, leaf: number, rows: number, columns: number): Tile {
  try {
    return decodeTile(bundle.leaf(leaf), rows, columns)
  } catch (cause) {
    throw refused(leaf, cause)
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

const refused = (leaf: number, cause?: unknown): ApusError =>
  new ApusError('bundle-invalid', `The leaf ${leaf} of the bundle is not what the machine allows.`, { cause })
