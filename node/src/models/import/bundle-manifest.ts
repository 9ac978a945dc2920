import { ApusError } from '@apus/shared'
import { exactFraction, roundedQuotient } from './exact-numbers.ts'
import { provableContext } from './machine-limits.ts'
import type { NumberFormats } from './number-formats.ts'
import type { SourceModel } from './source-model.ts'

/** Activation planes of each kind of matrix: 2 doubles the precision and the work of its inputs. */
export interface Planes {
  readonly qkv: 1 | 2
  readonly o: 1 | 2
  readonly gateUp: 1 | 2
  readonly down: 1 | 2
  readonly output: 1 | 2
}

/** Two planes where a second one buys the accuracy of Q8_0 (decision 0001). */
export const DEFAULT_PLANES: Planes = { qkv: 2, o: 2, gateUp: 1, down: 2, output: 1 }

export const planesKey = (p: Planes): string => [p.qkv, p.o, p.gateUp, p.down, p.output].join('')

const MAX_NAME_BYTES = 128
const MAX_EPSILON = 1n << 48n

/** The manifest of a bundle: the first leaf, from which the layout of all others follows. */
export function bundleManifest(
  m: SourceModel,
  stop: readonly number[],
  formats: NumberFormats,
  planes: Planes,
  tokenizerBytes: number,
) {
  const { numerator, denominator } = exactFraction(m.epsilon)
  const scale = BigInt(m.width) << BigInt(2 * formats.residual)
  const epsilon = roundedQuotient(numerator * scale, denominator)
  if (epsilon >= MAX_EPSILON)
    throw new ApusError('model-unsupported', 'The norm epsilon of the model is too large for the machine.')
  return {
    machine: 1,
    name: shortened(m.name),
    layers: m.layers,
    width: m.width,
    heads: m.heads,
    kvHeads: m.kvHeads,
    headSize: m.headSize,
    hidden: m.hidden,
    vocab: m.vocabulary,
    context: provableContext(m),
    tied: m.tied,
    epsilon: Number(epsilon),
    formats,
    planes,
    stop: [...stop],
    tokenizerBytes,
  }
}

export type BundleManifest = ReturnType<typeof bundleManifest>

function shortened(name: string): string {
  let short = ''
  for (const character of name.toWellFormed())
    if (Buffer.byteLength(short + character) <= MAX_NAME_BYTES) short += character
    else break
  return short
}
