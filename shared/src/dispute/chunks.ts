import type { Operation } from '../machine/steps.ts'

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

/** Cuts the values of an operation, leaf behind leaf, into its leaves. */
export function cutLeaves(operation: Operation, values: Uint8Array): Uint8Array[] {
  let at = 0
  return Array.from({ length: operation.leaves }, (_, leaf) => {
    at += operation.leafBytes(leaf)
    return values.slice(at - operation.leafBytes(leaf), at)
  })
}
