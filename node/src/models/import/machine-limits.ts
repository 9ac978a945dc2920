import { ApusError } from '@apus/shared/kit'
import { longestContext, SHAPE_LIMITS } from '@apus/shared/machine'
import type { SourceModel } from './source-model.ts'

/** Refuses shapes that the machine's proofs do not cover. Errors: `model-unsupported`. */
export function checkLimits(m: SourceModel): void {
  const queries = m.heads * m.headSize
  const limits = SHAPE_LIMITS
  const faults = [
    !limits.headSizes.some(size => size === m.headSize) && `heads of ${m.headSize} values`,
    m.heads % m.kvHeads !== 0 && `${m.heads} heads for ${m.kvHeads} key and value heads`,
    m.layers > limits.layers && `${m.layers} layers`,
    m.width > limits.width && `a width of ${m.width}`,
    m.heads > limits.heads && `${m.heads} heads`,
    queries > limits.queries && `queries of ${queries} values`,
    m.hidden > limits.hidden && `a feed-forward width of ${m.hidden}`,
    m.vocabulary > limits.vocab && `${m.vocabulary} tokens`,
  ].filter(fault => fault !== false)
  if (faults.length > 0)
    throw new ApusError('model-unsupported', `The machine cannot run a model with ${faults.join(', ')}.`)
}

/** The positions that the machine can prove for a model: its own context, unless a layer would have too many operations. */
export const provableContext = (m: SourceModel): number => Math.min(m.context, longestContext(m))
