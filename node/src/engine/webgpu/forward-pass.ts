import type { GpuDevice } from './gpu-device.ts'
import type { GpuState } from './gpu-state.ts'
import type { GpuTensor } from './gpu-tensor.ts'
import type { GpuWeights, LayerWeights } from './gpu-weights.ts'
import type { KernelConstants, KernelName } from './kernels.ts'
import { blocksOf, type ModelShape, tilesOf } from './model-shape.ts'
import type { LinearTuning } from './tuning.ts'

/** What changes from batch to batch: columns, and pages of the longest one. */
export interface BatchExtent {
  readonly columns: number
  readonly pages: number
}

export interface Dispatch {
  readonly pipeline: (extent: BatchExtent) => GPUComputePipeline
  readonly group: GPUBindGroup
  readonly size: (extent: BatchExtent) => readonly [number, number, number]
}

/** The dispatches of every stage of a token, compiled for one model on one device. */
export interface ForwardPass {
  readonly embed: readonly Dispatch[]
  /** Per layer: up to the key and value rows, and from attention to the layer's end. */
  readonly layers: readonly { readonly rows: readonly Dispatch[]; readonly rest: readonly Dispatch[] }[]
  /** Logits, penalties, greatest token. */
  readonly head: readonly Dispatch[]
  /** What sequences that are not greedy need after `head`. */
  readonly sample: readonly Dispatch[]
  /** One layer's K/V page leaves each. */
  readonly pageDigests: readonly Dispatch[]
}

/** A column whose token the device itself chose in the step before. */
export const TOKEN_CHOSEN = 0xffff_ffff

/** Compiles the kernels and binds all buffers. Errors: `gpu-error`. */
export async function compileForwardPass(
  gpu: GpuDevice,
  shape: ModelShape,
  weights: GpuWeights,
  state: GpuState,
  tuning: LinearTuning,
): Promise<ForwardPass> {
  const { width, heads, kvHeads, headSize, hidden, planes } = shape
  const units = heads + 2 * kvHeads
  const { columns, x, quants, scales, y, tables, pageTable, samplers, history, chosen, logits, tiles } = state

  const simple = async (
    name: KernelName,
    constants: KernelConstants,
    buffers: readonly GPUBuffer[],
    size: Dispatch['size'],
  ): Promise<Dispatch> => {
    const pipeline = await gpu.compile(name, constants)
    return { pipeline: () => pipeline, group: gpu.bind(name, [...buffers, state.shape]), size }
  }

  const linear = async (tensor: GpuTensor, planesOfInput: number, output: GPUBuffer): Promise<Dispatch[]> => {
    const variant = (batch: number) =>
      gpu.compile('linear', {
        SOLO: tuning.solo,
        PLANES: planesOfInput,
        BATCH: batch,
        TEAM_ROWS: tuning.rows,
        WORKGROUP: tuning.workgroup,
      })
    const narrow = await variant(1)
    const wide = await variant(tuning.columns)
    const teams = tuning.solo ? tuning.workgroup : tuning.workgroup / tensor.team
    const rowsOfWorkgroup = teams * tuning.rows
    return tensor.shards.map(shard => ({
      pipeline: ({ columns: count }) => (count === 1 ? narrow : wide),
      group: gpu.bind('linear', [
        shard.weights,
        shard.multipliers,
        shard.rowData,
        shard.place,
        quants,
        scales,
        output,
      ]),
      size: ({ columns: count }) => [
        count === 1 ? 1 : Math.ceil(count / tuning.columns),
        Math.ceil(shard.rows / rowsOfWorkgroup),
        1,
      ],
    }))
  }

  const norm = (gains: GPUBuffer, planesOfOutput: number) =>
    simple('norm', { A8_PLANES: planesOfOutput }, [x, gains, quants, scales], ({ columns: count }) => [
      blocksOf(width),
      count,
      1,
    ])

  const attention = async (pages: GPUBuffer): Promise<Dispatch[]> => [
    await simple(
      'page',
      { HEAD_SIZE: headSize },
      [columns, state.queries, pages, pageTable, tables, state.partials],
      extent => [extent.pages, heads, extent.columns],
    ),
    await simple(
      'out',
      { HEAD_SIZE: headSize, A8_PLANES: planes.o },
      [columns, state.partials, tables, quants, scales],
      ({ columns: count }) => [blocksOf(heads * headSize), count, 1],
    ),
  ]

  const layerOf = async (layer: LayerWeights, pages: GPUBuffer) => ({
    rows: [
      await norm(layer.firstGains, planes.qkv),
      ...(await linear(layer.qkv, planes.qkv, y)),
      await simple(
        'rows',
        {},
        [columns, y, weights.frequencies, tables, pageTable, state.queries, pages],
        ({ columns: count }) => [units, count, 1],
      ),
    ],
    rest: [
      ...(await attention(pages)),
      ...(await linear(layer.o, planes.o, x)),
      await norm(layer.secondGains, planes.gateUp),
      ...(await linear(layer.gateUp, planes.gateUp, y)),
      await simple('act', { A8_PLANES: planes.down }, [y, tables, quants, scales], ({ columns: count }) => [
        blocksOf(hidden),
        count,
        1,
      ]),
      ...(await linear(layer.down, planes.down, x)),
    ],
  })

  const embed = async (): Promise<Dispatch[]> => {
    const tensor = weights.embedding
    const pipeline = await gpu.compile('embed', {})
    return tensor.shards.map(shard => ({
      pipeline: () => pipeline,
      group: gpu.bind('embed', [
        columns,
        chosen,
        shard.weights,
        shard.multipliers,
        shard.rowData,
        shard.place,
        x,
        state.shape,
      ]),
      size: ({ columns: count }) => [Math.ceil(width / 64), count, 1],
    }))
  }

  const perTile: Dispatch['size'] = ({ columns: count }) => [tilesOf(shape), count, 1]
  const perColumn: Dispatch['size'] = ({ columns: count }) => [count, 1, 1]
  const choose = (pick: boolean) =>
    simple(
      'choose',
      { PICK: pick },
      [columns, samplers, tiles, state.peaks, history, chosen, state.results],
      perColumn,
    )

  const layers: ForwardPass['layers'][number][] = []
  for (const [index, layer] of weights.layers.entries()) {
    const pages = state.pages[index]
    if (pages !== undefined) layers.push(await layerOf(layer, pages))
  }
  return {
    embed: await embed(),
    layers,
    head: [
      await norm(weights.finalGains, planes.output),
      ...(await linear(weights.output, planes.output, logits)),
      await simple('scores', {}, [columns, samplers, history, logits, tiles], perTile),
      await choose(false),
    ],
    sample: [
      await simple(
        'select',
        {},
        [columns, samplers, logits, state.peaks, tables, state.keptLimits],
        perColumn,
      ),
      await simple('pick', {}, [columns, samplers, logits, state.keptLimits, tables, tiles], perTile),
      await choose(true),
    ],
    pageDigests: await Promise.all(
      state.pages.map((pages, layer) =>
        simple(
          'page-digest',
          {},
          [state.digestRequests[layer] ?? columns, pages, pageTable, state.digests],
          extent => [Math.ceil((extent.pages * kvHeads * 2) / 64), 1, 1],
        ),
      ),
    ),
  }
}

/** Encodes dispatches in order. */
export function encode(
  pass: GPUComputePassEncoder,
  dispatches: readonly Dispatch[],
  extent: BatchExtent,
): void {
  for (const { pipeline, group, size } of dispatches) {
    pass.setPipeline(pipeline(extent))
    pass.setBindGroup(0, group)
    pass.dispatchWorkgroups(...size(extent))
  }
}
