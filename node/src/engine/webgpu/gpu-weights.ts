import type { GpuDevice } from './gpu-device.ts'
import { GpuTensor } from './gpu-tensor.ts'
import { type ModelShape, residualStride } from './model-shape.ts'

export interface LayerWeights {
  /** i32 gains before attention and before the feed-forward. */
  readonly firstGains: GPUBuffer
  readonly secondGains: GPUBuffer
  readonly qkv: GpuTensor
  readonly o: GpuTensor
  readonly gateUp: GpuTensor
  readonly down: GpuTensor
}

/** A model's weights on the device. */
export interface GpuWeights {
  /** The output tensor itself when the model ties them. */
  readonly embedding: GpuTensor
  readonly output: GpuTensor
  readonly layers: readonly LayerWeights[]
  readonly finalGains: GPUBuffer
  /** u64 per pair of a head. */
  readonly frequencies: GPUBuffer
}

/** Room for all weights of a model. Errors: `gpu-out-of-memory`. */
export async function allocateWeights(gpu: GpuDevice, shape: ModelShape): Promise<GpuWeights> {
  const usage = GPUBufferUsage.STORAGE | GPUBufferUsage.COPY_DST
  const { width, hidden, headSize, heads, kvHeads } = shape
  const gains = (label: string) => gpu.allocate(label, width * 4, usage)
  const tensor = (label: string, rows: number, columns: number) =>
    GpuTensor.allocate(gpu, label, [rows, columns], { stride: rows, residual: false })
  const adding = (label: string, columns: number) =>
    GpuTensor.allocate(gpu, label, [width, columns], { stride: residualStride(width), residual: true })
  const output = await tensor('output', shape.vocab, width)
  const embedding = shape.tied ? output : await tensor('embedding', shape.vocab, width)
  const layers: LayerWeights[] = []
  for (let i = 0; i < shape.layers; i++) {
    layers.push({
      firstGains: await gains(`layer ${i} first gains`),
      secondGains: await gains(`layer ${i} second gains`),
      qkv: await tensor(`layer ${i} qkv`, (heads + 2 * kvHeads) * headSize, width),
      o: await adding(`layer ${i} o`, heads * headSize),
      gateUp: await tensor(`layer ${i} gate_up`, 2 * hidden, width),
      down: await adding(`layer ${i} down`, hidden),
    })
  }
  return {
    embedding,
    output,
    layers,
    finalGains: await gains('final gains'),
    frequencies: await gpu.allocate('frequencies', headSize * 4, usage),
  }
}

export function destroyWeights(weights: GpuWeights): void {
  weights.output.destroy()
  weights.embedding.destroy()
  for (const layer of weights.layers) {
    for (const part of Object.values(layer)) part.destroy()
  }
  weights.finalGains.destroy()
  weights.frequencies.destroy()
}
