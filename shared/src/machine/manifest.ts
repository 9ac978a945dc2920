import { z } from 'zod'
import { decodeCanonical } from '../hashing/canonical.ts'
import { ApusError } from '../kit/errors.ts'

export const MACHINE_CLASS = 'apus-machine-1'

const planes = z.union([z.literal(1), z.literal(2)])
const residualBits = z.union([z.literal(12), z.literal(14), z.literal(16), z.literal(18)])
const powerOfTwoHead = z.union([z.literal(8), z.literal(16), z.literal(32), z.literal(64), z.literal(128)])

/** The first leaf of a bundle (SPEC.md §5); the layout of all others follows from it. */
export const manifestSchema = z
  .strictObject({
    machine: z.literal(1),
    name: z.string().refine(text => Buffer.byteLength(text) <= 128, 'at most 128 bytes'),
    layers: z.int().min(1).max(128),
    width: z.int().min(1).max(8192),
    heads: z.int().min(1).max(128),
    kvHeads: z.int().min(1).max(128),
    headSize: powerOfTwoHead,
    hidden: z.int().min(1).max(32_768),
    vocab: z
      .int()
      .min(1)
      .max(2 ** 18),
    context: z
      .int()
      .min(1)
      .max(2 ** 18),
    tied: z.boolean(),
    epsilon: z
      .int()
      .min(0)
      .max(2 ** 48 - 1),
    formats: z.strictObject({
      residual: residualBits,
      qk: residualBits,
      value: z.union([residualBits, z.literal(20)]),
      gate: z.union([z.literal(16), z.literal(18)]),
      hidden: z.union([z.literal(8), z.literal(10), residualBits]),
    }),
    planes: z.strictObject({ qkv: planes, o: planes, gateUp: planes, down: planes, output: planes }),
    stop: z.array(z.int().min(0)).max(64),
    tokenizerBytes: z
      .int()
      .min(0)
      .max(64 * 2 ** 20),
  })
  .refine(m => m.heads % m.kvHeads === 0, 'kvHeads must divide heads')
  .refine(m => m.heads * m.headSize <= 8192, 'heads · headSize must be at most 8192')
  .refine(
    m => m.stop.every((t, i) => t < m.vocab && (i === 0 || t > (m.stop[i - 1] as number))),
    'stop tokens must ascend',
  )
  .refine(
    m => layerOperations(m, m.context - 1) <= MAX_OPERATIONS,
    'the context makes a layer of over 128 operations',
  )

export type Manifest = z.infer<typeof manifestSchema>

const MAX_OPERATIONS = 128
/** Heads whose pages of a group share an operation: 16 · 64 leaves. */
export const HEAD_SET = 16
export const OPERATION_VALUES = 8192

/** Operations of a layer stage at a position (SPEC.md §6). */
export function layerOperations(
  m: Readonly<Record<'heads' | 'kvHeads' | 'headSize' | 'hidden', number>>,
  position: number,
): number {
  const sets = Math.ceil(m.heads / HEAD_SET)
  const groups = Math.floor(position / 4096) + 1
  const segments = Math.ceil(m.hidden / OPERATION_VALUES)
  const qkv = Math.ceil(((m.heads + 2 * m.kvHeads) * m.headSize) / OPERATION_VALUES)
  const gateUp = Math.ceil((2 * m.hidden) / OPERATION_VALUES)
  return 3 + qkv + 2 + groups * sets + sets + 3 + 3 + gateUp + 1 + (segments > 1 ? segments + 1 : 1)
}

/** Reads and checks a manifest leaf. Errors: `bundle-invalid`. */
export function decodeManifest(leaf: Uint8Array): Manifest {
  try {
    return manifestSchema.parse(decodeCanonical(leaf))
  } catch (cause) {
    throw new ApusError('bundle-invalid', 'The manifest of the bundle is outside what the machine allows.', {
      cause,
    })
  }
}
