import { ApusError } from '@apus/shared'
import type { SourceModel } from './source-model.ts'

const HEAD_SIZES: readonly number[] = [8, 16, 32, 64, 128]
const MAX_LAYERS = 128
const MAX_WIDTH = 8192
const MAX_HEADS = 128
const MAX_HIDDEN = 32_768
const MAX_VOCABULARY = 1 << 18
const MAX_CONTEXT = 1 << 18
/** Operations of one layer that a dispute can list. */
const MAX_OPERATIONS = 128
const OPERATION_ROWS = 8192
const SEGMENT = 8192
const HEADS_PER_OPERATION = 16
const POSITIONS_PER_GROUP = 4096

/** Refuses shapes that the machine's proofs do not cover. Errors: `model-unsupported`. */
export function checkLimits(m: SourceModel): void {
  const queries = m.heads * m.headSize
  const faults = [
    !HEAD_SIZES.includes(m.headSize) && `heads of ${m.headSize} values`,
    m.heads % m.kvHeads !== 0 && `${m.heads} heads for ${m.kvHeads} key and value heads`,
    m.layers > MAX_LAYERS && `${m.layers} layers`,
    m.width > MAX_WIDTH && `a width of ${m.width}`,
    m.heads > MAX_HEADS && `${m.heads} heads`,
    queries > MAX_WIDTH && `queries of ${queries} values`,
    m.hidden > MAX_HIDDEN && `a feed-forward width of ${m.hidden}`,
    m.vocabulary > MAX_VOCABULARY && `${m.vocabulary} tokens`,
  ].filter(fault => fault !== false)
  if (faults.length > 0)
    throw new ApusError('model-unsupported', `The machine cannot run a model with ${faults.join(', ')}.`)
}

/** The positions that the machine can prove for a model: its own context, unless a layer would have too many operations. */
export function provableContext(m: SourceModel): number {
  const segments = Math.ceil(m.hidden / SEGMENT)
  const headSets = Math.ceil(m.heads / HEADS_PER_OPERATION)
  const others =
    3 + // first norm
    Math.ceil(((m.heads + 2 * m.kvHeads) * m.headSize) / OPERATION_ROWS) +
    2 + // rows, link
    headSets + // groups
    3 + // out, its quantisation, its projection
    3 + // second norm
    Math.ceil((2 * m.hidden) / OPERATION_ROWS) +
    1 + // activation
    (segments === 1 ? 1 : segments + 1)
  const groups = Math.floor((MAX_OPERATIONS - others) / headSets)
  return Math.min(m.context, MAX_CONTEXT, groups * POSITIONS_PER_GROUP)
}
