import { encodeCanonical } from '@apus/shared/hashing'
import { ApusError, firstBytes } from '@apus/shared/kit'
import { decodeManifest, type Manifest, SHAPE_LIMITS } from '@apus/shared/machine'
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

/** The manifest of a bundle: the first leaf, from which the layout of all others follows. Errors: `model-unsupported`, `bundle-invalid`. */
export function bundleManifest(
  m: SourceModel,
  stop: readonly number[],
  formats: NumberFormats,
  planes: Planes,
  tokenizerBytes: number,
): Manifest {
  const { numerator, denominator } = exactFraction(m.epsilon)
  const scale = BigInt(m.width) << BigInt(2 * formats.residual)
  const epsilon = roundedQuotient(numerator * scale, denominator)
  if (epsilon > SHAPE_LIMITS.epsilon)
    throw new ApusError('model-unsupported', 'The norm epsilon of the model is too large for the machine.')
  const manifest = {
    machine: 1,
    name: firstBytes(m.name, SHAPE_LIMITS.nameBytes),
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
  return decodeManifest(encodeCanonical(manifest))
}
