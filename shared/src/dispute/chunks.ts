import { planStage, stageCount } from '../machine/plan.ts'
import type { RunTerms } from '../machine/plan-parts.ts'
import type { Operation } from '../machine/steps.ts'
import { MAX_SHOWN_OPERATIONS } from '../protocol/dispute.ts'

/** Operations whose chunks are parts of leaves: their values are shown, of the others the leaves' hashes. */
const SHOWN_BY_VALUE: ReadonlySet<string> = new Set([
  'linear',
  'out',
  'max.tile',
  'topk.count',
  'topp.mass',
  'topp.before',
  'pick.tile',
])

export const showsValues = (operation: Operation): boolean => {
  const { step } = operation.chunk(0)
  return step !== undefined && SHOWN_BY_VALUE.has(step.kind)
}

export const isAdvice = (operation: Operation): boolean => operation.chunk(0).step === undefined

/** Operations of which only one output is legal: a byte of 1. */
export const isCheck = (operation: Operation): boolean => {
  const kind = operation.chunk(0).step?.kind
  return kind === 'link' || kind === 'topk.check' || kind === 'topp.check'
}

/** Whether the operations of a position are shown together with its stages. */
export function showsOperations(terms: RunTerms, position: number): boolean {
  let count = 0
  for (let stage = 0; stage < stageCount(terms, position); stage++)
    count += planStage(terms, position, stage).length
  return count <= MAX_SHOWN_OPERATIONS
}

/** The digests of one stage's operations among those of all stages. */
export function operationsOfStage(
  terms: RunTerms,
  position: number,
  stage: number,
  all: readonly Uint8Array[],
): Uint8Array[] {
  let from = 0
  for (let s = 0; s < stage; s++) from += planStage(terms, position, s).length
  return all.slice(from, from + planStage(terms, position, stage).length)
}

/** Cuts the values of an operation, leaf behind leaf, into its leaves; bytes too many make the last one longer. */
export function cutLeaves(operation: Operation, values: Uint8Array): Uint8Array[] {
  let at = 0
  return Array.from({ length: operation.leaves }, (_, leaf) => {
    const from = at
    at += operation.leafBytes(leaf)
    return values.slice(from, leaf === operation.leaves - 1 ? undefined : at)
  })
}
