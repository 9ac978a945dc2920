import type { RunLeaves } from '../machine/run-leaves.ts'
import type { RevealedResult } from '../protocol/dispute.ts'
import { brokenCheckpoint } from './one-message-proof.ts'

/** Where another run first shows that it is not this one. */
export type Difference =
  /** This checkpoint leaf of theirs breaks a rule by itself. */
  | { readonly kind: 'structure'; readonly checkpoint: number }
  | { readonly kind: 'page'; readonly page: number }
  | { readonly kind: 'checkpoint'; readonly checkpoint: number }

/**
 * The first place at which `theirs` differs from `mine`, a run that reads their tokens; undefined when none does. Pages
 * come first: where all of them are equal, everything that a checkpoint follows from is.
 */
export function firstDifference(
  mine: RunLeaves,
  theirs: RunLeaves,
  statement: Pick<RevealedResult, 'count' | 'finish'>,
  tokens: readonly number[],
): Difference | undefined {
  const broken = theirs.checkpoints.findIndex(
    (leaf, i) => brokenCheckpoint(leaf, i, statement, tokens) !== undefined,
  )
  if (broken >= 0) return { kind: 'structure', checkpoint: broken }
  const page = firstUnequal(mine.pageLeaves, theirs.pageLeaves)
  if (page >= 0) return { kind: 'page', page }
  const checkpoint = firstUnequal(mine.checkpoints, theirs.checkpoints)
  return checkpoint >= 0 ? { kind: 'checkpoint', checkpoint } : undefined
}

const firstUnequal = (mine: readonly Uint8Array[], theirs: readonly Uint8Array[]): number =>
  theirs.findIndex((leaf, i) => Buffer.compare(mine[i] ?? new Uint8Array(), leaf) !== 0)
