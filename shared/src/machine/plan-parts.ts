import type { SamplerSettings } from '../protocol/sampler.ts'
import { type BundleLayout, type Tensor, tileOf } from './layout.ts'
import type { Manifest } from './manifest.ts'
import type { PlaneCount } from './quantizer.ts'
import type { NoiseKey } from './sampler.ts'
import { A8_BLOCK, LEAF_VALUES, NORM_BLOCK, OPERATION_VALUES, SEGMENT } from './sizes.ts'
import type { Input, Operation } from './steps.ts'

/** What fixes a run's plan: the model and the job, without the tokens. */
export interface RunTerms {
  readonly manifest: Manifest
  readonly layout: BundleLayout
  readonly promptLength: number
  readonly sampler: SamplerSettings
  readonly noise: NoiseKey
  readonly maxTokens: number
  /** UTF-8 of the job's stop strings. */
  readonly stop: readonly Uint8Array[]
}

/** Whether a position has a head stage: it chooses a token. */
export const choosesAt = (terms: RunTerms, position: number): boolean => position >= terms.promptLength - 1

/** The operation that ends the embed stage or a layer: the residual. */
export const residualName = (stage: number): string => (stage === 0 ? 'embed' : 'down')

export const value = (stage: number, operation: string, first: number, count = 1): Input => ({
  kind: 'value',
  stage,
  operation,
  first,
  count,
})

export const leavesOf = (values: number): number => Math.ceil(values / LEAF_VALUES)

const countIn = (values: number, leaf: number): number => Math.min(LEAF_VALUES, values - leaf * LEAF_VALUES)

/** Lengths of the leaves of a vector of i32. */
export const valueBytes = (values: number) => (leaf: number) => 4 * countIn(values, leaf)

export const a8Bytes = (values: number, planes: PlaneCount) => (leaf: number) => {
  const m = countIn(values, leaf)
  return m * planes + 4 * Math.ceil(m / A8_BLOCK)
}

export type OfLeaf = Pick<ReturnType<Operation['chunk']>, 'step' | 'inputs'>

/** An operation whose chunks are its leaves. */
export function leafwise(
  stage: number,
  name: string,
  leaves: number,
  leafBytes: (leaf: number) => number,
  of: (leaf: number) => OfLeaf,
  {
    leavesPerRun,
    advice = false,
    check = false,
  }: Partial<Pick<Operation, 'leavesPerRun' | 'advice' | 'check'>> = {},
): Operation {
  const chunk = (leaf: number) => ({ leaf, from: 0, length: leafBytes(leaf), ...of(leaf) })
  return {
    stage,
    name,
    leaves,
    leavesPerRun,
    chunks: leaves,
    shown: 'leaves',
    advice,
    check,
    leafBytes,
    chunk,
  }
}

/** How an operation is disputed whose chunks are parts of its leaves. */
export const IN_PARTS = { leavesPerRun: undefined, shown: 'values', advice: false, check: false } as const

/** A norm of the residual `x`, as three operations. */
export function norm(
  { manifest, layout }: RunTerms,
  stage: number,
  name: string,
  x: readonly [stage: number, operation: string],
  index: number,
  planes: PlaneCount,
): Operation[] {
  const { width, epsilon } = manifest
  const leaves = leavesOf(width)
  const blocks = (leaf: number) => 5 * Math.ceil(countIn(width, leaf) / NORM_BLOCK)
  return [
    leafwise(stage, `${name}.part`, leaves, blocks, leaf => ({
      step: { kind: 'norm.part' },
      inputs: [value(...x, leaf)],
    })),
    leafwise(
      stage,
      `${name}.scale`,
      1,
      () => 5,
      () => ({
        step: { kind: 'norm.scale', epsilon },
        inputs: [value(stage, `${name}.part`, 0, leaves)],
      }),
    ),
    leafwise(stage, `${name}.quant`, leaves, a8Bytes(width, planes), leaf => ({
      step: { kind: 'norm.quant', planes },
      inputs: [
        value(...x, leaf),
        value(stage, `${name}.scale`, 0),
        { kind: 'bundle', leaf: layout.gains(index) + leaf },
      ],
    })),
  ]
}

/** Rows of a tensor from `first`, one segment of its columns; a chunk is the rows of a tile. */
function linearPart(
  stage: number,
  name: string,
  tensor: Tensor,
  input: string,
  first: number,
  segment: number,
  residual?: readonly [stage: number, operation: string],
): Operation {
  const rows = Math.min(OPERATION_VALUES, tensor.rows - first)
  const values = Math.min(SEGMENT, tensor.columns - segment * SEGMENT)
  return {
    stage,
    name,
    leaves: leavesOf(rows),
    ...IN_PARTS,
    chunks: Math.ceil(rows / tensor.tileRows),
    leafBytes: valueBytes(rows),
    chunk: chunk => {
      const at = chunk * tensor.tileRows
      const tile = tileOf(tensor, first + at, segment)
      const leaf = Math.floor(at / LEAF_VALUES)
      const start = at % LEAF_VALUES
      const inputs: Input[] = [
        value(stage, input, leavesOf(segment * SEGMENT), leavesOf(values)),
        { kind: 'bundle', leaf: tile.leaf },
      ]
      if (residual) inputs.push(value(...residual, leaf))
      return {
        leaf,
        from: start * 4,
        length: tile.rows * 4,
        step: {
          kind: 'linear',
          rows: tile.rows,
          columns: tile.columns,
          values,
          planes: tensor.planes,
          residual: residual && start,
        },
        inputs,
      }
    },
  }
}

/** A tensor's rows as operations of at most 8192 values each. */
export const linear = (stage: number, name: string, tensor: Tensor, input: string): Operation[] =>
  Array.from({ length: Math.ceil(tensor.rows / OPERATION_VALUES) }, (_, i) =>
    linearPart(stage, `${name}.${i}`, tensor, input, i * OPERATION_VALUES, 0),
  )

/** A tensor of one operation whose result is added to the residual, by segments where it has several. */
export function addedLinear(
  stage: number,
  name: string,
  tensor: Tensor,
  input: string,
  residual: readonly [stage: number, operation: string],
): Operation[] {
  if (tensor.segments === 1) return [linearPart(stage, name, tensor, input, 0, 0, residual)]
  const parts = Array.from({ length: tensor.segments }, (_, segment) =>
    linearPart(stage, `${name}.part.${segment}`, tensor, input, 0, segment),
  )
  const sum = leafwise(stage, name, leavesOf(tensor.rows), valueBytes(tensor.rows), leaf => ({
    step: { kind: 'sum' },
    inputs: [...parts.map(part => value(stage, part.name, leaf)), value(...residual, leaf)],
  }))
  return [...parts, sum]
}
