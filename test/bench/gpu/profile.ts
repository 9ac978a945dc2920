import { inDomain, type Manifest } from '@apus/shared/machine'
import { SeededBundle } from '../../../node/src/engine/machine/seeded-bundle.ts'
import { compileForwardPass, type Dispatch } from '../../../node/src/engine/webgpu/forward-pass.ts'
import type { GpuDevice } from '../../../node/src/engine/webgpu/gpu-device.ts'
import { allocateState, destroyState } from '../../../node/src/engine/webgpu/gpu-state.ts'
import type { GpuTensor } from '../../../node/src/engine/webgpu/gpu-tensor.ts'
import { allocateWeights, destroyWeights } from '../../../node/src/engine/webgpu/gpu-weights.ts'
import { LeafStream } from '../../../node/src/engine/webgpu/leaf-stream.ts'
import { loadWeights } from '../../../node/src/engine/webgpu/load-weights.ts'
import { tableWords } from '../../../node/src/engine/webgpu/table-words.ts'
import type { LinearTuning } from '../../../node/src/engine/webgpu/tuning.ts'

interface KernelTime {
  readonly name: string
  readonly microseconds: number
  /** Of linears, by their weights. */
  readonly gigabytesPerSecond: number | undefined
}

/** Layers whose weights are read in turn, so that none lies in a cache. */
const LAYERS = 8
const REPEATS = 20
const POSITION = 511

/** How long each kernel takes at one position in the middle of a context, on seeded weights of the model's shape. */
export async function profileKernels(
  gpu: GpuDevice,
  manifest: Manifest,
  seed: number,
  tuning: LinearTuning,
): Promise<KernelTime[]> {
  const shape = { ...manifest, layers: Math.min(LAYERS, manifest.layers) }
  const weights = await allocateWeights(gpu, shape)
  const state = await allocateState(gpu, shape, { sequences: 1, columns: 4, positions: 1024 }, tableWords())
  try {
    const leaves = new LeafStream(inDomain(new SeededBundle(shape, seed).leaves()))
    await leaves.take()
    await loadWeights(gpu, weights, shape, leaves)
    const pass = await compileForwardPass(gpu, shape, weights, state, tuning)
    gpu.write(
      state.pageTable,
      0,
      Uint32Array.from({ length: 9 }, (_, i) => i),
    )
    gpu.write(state.columns, 0, Uint32Array.of(1, POSITION, 0, 0))
    const extent = { columns: 1, pages: Math.floor(POSITION / 64) + 1 }
    const time = async (
      name: string,
      dispatches: readonly Dispatch[],
      tensor?: GpuTensor,
    ): Promise<KernelTime> => {
      const once = () =>
        gpu.run(
          encoder => {
            for (let i = 0; i < REPEATS; i++) {
              for (const { pipeline, group, size } of dispatches) {
                encoder.setPipeline(pipeline(extent))
                encoder.setBindGroup(0, group)
                encoder.dispatchWorkgroups(...size(extent))
              }
            }
          },
          [{ buffer: state.results, offset: 0, size: 4 }],
        )
      await once()
      const started = performance.now()
      await once()
      const microseconds = ((performance.now() - started) * 1000) / REPEATS / dispatches.length
      const bytes = tensor === undefined ? undefined : tensor.rows * (tensor.padded + tensor.blocks * 16)
      return {
        name,
        microseconds,
        gigabytesPerSecond: bytes === undefined ? undefined : bytes / microseconds / 1000,
      }
    }
    const [layer] = weights.layers
    const rows = ['norm', 'qkv', 'rows'].map((name, i) => ({
      name,
      dispatches: pass.layers.flatMap(({ rows: all }) => all[i] ?? []),
      tensor: name === 'qkv' ? layer?.qkv : undefined,
    }))
    const rest = (['page', 'out', 'o', 'norm 2', 'gateUp', 'act', 'down'] as const).map((name, i) => ({
      name,
      dispatches: pass.layers.flatMap(({ rest: all }) => all[i] ?? []),
      tensor: name === 'o' || name === 'gateUp' || name === 'down' ? layer?.[name] : undefined,
    }))
    const head = ['norm 3', 'logits', 'scores', 'max'].map((name, i) => ({
      name,
      dispatches: [pass.head[i]].filter(dispatch => dispatch !== undefined),
      tensor: name === 'logits' ? weights.output : undefined,
    }))
    const times: KernelTime[] = []
    for (const { name, dispatches, tensor } of [...rows, ...rest, ...head]) {
      times.push(await time(name, dispatches, tensor))
    }
    return times
  } finally {
    destroyWeights(weights)
    destroyState(state)
  }
}
