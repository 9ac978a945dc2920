import type { Manifest } from '@apus/shared/machine'
import { DEFAULT_PLANES } from '../../../node/src/models/import/bundle-manifest.ts'

/** Shapes of models that people run; the weights are seeded. */
interface Size {
  readonly layers: number
  readonly width: number
  readonly heads: number
  readonly kvHeads: number
  readonly headSize: Manifest['headSize']
  readonly hidden: number
  readonly vocab: number
  readonly tied: boolean
}

export const SIZES: Readonly<Record<string, Size>> = {
  '100m': {
    layers: 12,
    width: 768,
    heads: 12,
    kvHeads: 4,
    headSize: 64,
    hidden: 2048,
    vocab: 32_000,
    tied: true,
  },
  '1b': {
    layers: 16,
    width: 2048,
    heads: 32,
    kvHeads: 8,
    headSize: 64,
    hidden: 8192,
    vocab: 128_256,
    tied: true,
  },
  '7b': {
    layers: 32,
    width: 4096,
    heads: 32,
    kvHeads: 32,
    headSize: 128,
    hidden: 11_008,
    vocab: 32_000,
    tied: false,
  },
  '8b': {
    layers: 32,
    width: 4096,
    heads: 32,
    kvHeads: 8,
    headSize: 128,
    hidden: 14_336,
    vocab: 128_256,
    tied: false,
  },
}

const CONTEXT = 4096
const RESIDUAL_BITS = 16
const EPSILON = 1e-5

export function manifestOf(name: string, layers: number | undefined): Manifest {
  const size = SIZES[name]
  if (size === undefined) throw new RangeError(`the sizes are ${Object.keys(SIZES).join(', ')}`)
  return {
    machine: 1,
    name: `seeded ${name}`,
    ...size,
    layers: layers ?? size.layers,
    context: CONTEXT,
    epsilon: Math.round(size.width * EPSILON * 2 ** (2 * RESIDUAL_BITS)),
    formats: { residual: RESIDUAL_BITS, qk: 16, value: 16, gate: 16, hidden: 14 },
    planes: DEFAULT_PLANES,
    stop: [],
    tokenizerBytes: 0,
  }
}

/** Weights of the matrices that every token passes. */
export function weightsPerToken(m: Manifest): number {
  const layer =
    (m.heads + 2 * m.kvHeads) * m.headSize * m.width + m.heads * m.headSize * m.width + 3 * m.hidden * m.width
  return m.layers * layer + m.vocab * m.width
}

export const parametersOf = (m: Manifest): number => weightsPerToken(m) + (m.tied ? 0 : m.vocab * m.width)

/** Bytes that a decode step reads at least: weights, and a u16 multiplier for 32 of them. */
export const bytesPerToken = (m: Manifest): number => weightsPerToken(m) * (1 + 2 / 32)
