import { z } from 'zod'
import { decodeCanonical } from '../hashing/canonical.ts'
import { ApusError } from '../kit/errors.ts'
import { GROUP_PAGES, HEAD_SET, OPERATION_VALUES, PAGE_ROWS } from './sizes.ts'

export const MACHINE_CLASS = 'apus-machine-1'

const planes = z.union([z.literal(1), z.literal(2)])
const residualBits = z.union([z.literal(12), z.literal(14), z.literal(16), z.literal(18)])

/** The largest shapes whose every step can be proven (SPEC.md §5). */
export const SHAPE_LIMITS = {
  layers: 128,
  width: 8192,
  heads: 128,
  headSizes: [8, 16, 32, 64, 128],
  /** Values of all query heads. */
  queries: 8192,
  hidden: 32_768,
  vocab: 2 ** 18,
  context: 2 ** 18,
  /** Operations of one layer. */
  operations: 128,
  nameBytes: 128,
  epsilon: 2 ** 48 - 1,
} as const

/** The first leaf of a bundle (SPEC.md §5); the layout of all others follows from it. */
export const manifestSchema = z
  .strictObject({
    machine: z.literal(1),
    name: z.string().refine(text => Buffer.byteLength(text) <= SHAPE_LIMITS.nameBytes, 'at most 128 bytes'),
    layers: z.int().min(1).max(SHAPE_LIMITS.layers),
    width: z.int().min(1).max(SHAPE_LIMITS.width),
    heads: z.int().min(1).max(SHAPE_LIMITS.heads),
    kvHeads: z.int().min(1).max(SHAPE_LIMITS.heads),
    headSize: z.literal(SHAPE_LIMITS.headSizes),
    hidden: z.int().min(1).max(SHAPE_LIMITS.hidden),
    vocab: z.int().min(1).max(SHAPE_LIMITS.vocab),
    context: z.int().min(1).max(SHAPE_LIMITS.context),
    tied: z.boolean(),
    epsilon: z.int().min(0).max(SHAPE_LIMITS.epsilon),
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
  .refine(m => m.heads * m.headSize <= SHAPE_LIMITS.queries, 'heads · headSize must be at most 8192')
  .refine(
    m => m.stop.every((t, i) => t < m.vocab && (i === 0 || t > (m.stop[i - 1] as number))),
    'stop tokens must ascend',
  )
  .refine(
    m => layerOperations(m, m.context - 1) <= SHAPE_LIMITS.operations,
    'the context makes a layer of over 128 operations',
  )

export type Manifest = z.infer<typeof manifestSchema>

/** Positions of a group of pages. */
const GROUP_ROWS = GROUP_PAGES * PAGE_ROWS

/** Operations of a layer stage at a position (SPEC.md §6). */
export function layerOperations(
  m: Readonly<Record<'heads' | 'kvHeads' | 'headSize' | 'hidden', number>>,
  position: number,
): number {
  const sets = Math.ceil(m.heads / HEAD_SET)
  const groups = Math.floor(position / GROUP_ROWS) + 1
  const segments = Math.ceil(m.hidden / OPERATION_VALUES)
  const qkv = Math.ceil(((m.heads + 2 * m.kvHeads) * m.headSize) / OPERATION_VALUES)
  const gateUp = Math.ceil((2 * m.hidden) / OPERATION_VALUES)
  return 3 + qkv + 2 + groups * sets + sets + 3 + 3 + gateUp + 1 + (segments > 1 ? segments + 1 : 1)
}

/** The longest context of a shape whose layers keep within the operations that a dispute can list. */
export function longestContext(m: Parameters<typeof layerOperations>[0]): number {
  const more = SHAPE_LIMITS.operations - layerOperations(m, 0)
  return Math.min(SHAPE_LIMITS.context, GROUP_ROWS * (1 + Math.floor(more / Math.ceil(m.heads / HEAD_SET))))
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
