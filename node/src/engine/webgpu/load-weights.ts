import {
  bundleLayout,
  decodePieces,
  decodeTile,
  GROUP,
  type Manifest,
  piecesInLeaf,
  SEGMENT,
  type Tensor,
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

/** Sends a bundle's weights to the device: all leaves from the frequencies to the last tile. Errors: `bundle-invalid`. */
export async function loadWeights(
  gpu: GpuDevice,
  weights: GpuWeights,
  manifest: Manifest,
  leaves: LeafStream,
): Promise<void> {
  const layout = bundleLayout(manifest)
  let pending = 0
  const fill = async (target: GpuTensor, tensor: Tensor) => {
    const perPart = Math.max(1, Math.floor(PART_BYTES / (target.padded * tensor.tileRows))) * tensor.tileRows
    for (let from = 0; from < tensor.rows; from += perPart) {
      const to = Math.min(tensor.rows, from + perPart)
      target.fill(from, await gather(leaves, tensor, target.padded, from, to))
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
    gpu.write(buffer, 0, Uint8Array.from(Buffer.concat(parts)))
  }
  gpu.write(weights.frequencies, 0, Uint8Array.from(await leaves.take()))
  for (const { firstGains, secondGains } of weights.layers) {
    await gains(firstGains)
    await gains(secondGains)
  }
  await gains(weights.finalGains)
  if (!manifest.tied) await fill(weights.embedding, layout.embedding)
  await fill(weights.output, layout.output)
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

/** Rows `from`..`to`-1 (whole tiles) with their segments side by side. */
async function gather(
  leaves: LeafStream,
  tensor: Tensor,
  padded: number,
  from: number,
  to: number,
): Promise<TensorRows> {
  const rows = to - from
  const weights = new Int8Array(rows * padded)
  const multipliers = new Uint16Array((rows * padded) / GROUP)
  const shifts = new Uint8Array(rows)
  const biases = new Int32Array(rows)
  for (let row = from; row < to; row += tensor.tileRows) {
    for (let segment = 0; segment < tensor.segments; segment++) {
      const address = tileOf(tensor, row, segment)
      const tile = decodeTile(await leaves.take(), address.rows, address.columns)
      const first = row - from
      if (segment === 0) {
        shifts.set(tile.shifts, first)
        biases.set(tile.biases, first)
      }
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
