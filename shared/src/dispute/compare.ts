import type { Evidence } from './evidence.ts'

/** Rows of a K/V page. */
const PAGE_ROWS = 64
const STOP_FLAG_AT = 8

/** Where another run first shows that it is not this one. */
export type Difference =
  | { readonly kind: 'none' }
  /** The leaves under its roots are not known here. */
  | { readonly kind: 'withheld' }
  /** This checkpoint leaf of theirs breaks a rule by itself: it stands at another place, or stops where it may not. */
  | { readonly kind: 'structure'; readonly checkpoint: number }
  | { readonly kind: 'checkpoint'; readonly checkpoint: number }
  | { readonly kind: 'page'; readonly page: number }

export interface RunShape {
  /** Tokens of the prompt. */
  readonly promptLength: number
  /** K/V pages of 64 positions: layers · kv heads · 2. */
  readonly pagesPerBlock: number
}

/**
 * The first place at which `theirs` differs from `mine`. A page comes before a checkpoint only when all its rows do:
 * what follows a wrong checkpoint changes the later rows of its own pages too.
 */
export function firstDifference(mine: Evidence, theirs: Evidence | undefined, shape: RunShape): Difference {
  if (theirs === undefined) return { kind: 'withheld' }
  const broken = brokenCheckpoint(theirs.checkpoints)
  if (broken !== undefined) return { kind: 'structure', checkpoint: broken }
  const checkpoint = firstUnequal(mine.checkpoints, theirs.checkpoints)
  const page = firstUnequal(mine.pageLeaves, theirs.pageLeaves)
  if (checkpoint === undefined) return page === undefined ? { kind: 'none' } : { kind: 'page', page }
  const position = shape.promptLength - 1 + checkpoint
  const before = page !== undefined && page < Math.floor(position / PAGE_ROWS) * shape.pagesPerBlock
  return before ? { kind: 'page', page } : { kind: 'checkpoint', checkpoint }
}

/** The first checkpoint leaf that cannot stand where it does. */
export function brokenCheckpoint(leaves: readonly Uint8Array[]): number | undefined {
  const at = leaves.findIndex((leaf, i) => breaksByItself(leaf, i, leaves.length))
  return at < 0 ? undefined : at
}

/** Whether a checkpoint leaf cannot be the one at `index` of `count`: it says its place, and exactly the last one stops. */
export function breaksByItself(leaf: Uint8Array, index: number, count: number): boolean {
  const place = new DataView(leaf.buffer, leaf.byteOffset, leaf.byteLength).getUint32(0, true)
  const stops = (leaf[STOP_FLAG_AT] as number) !== 0
  return place !== index || stops !== (index === count - 1)
}

/** A place in `theirs` that differs; a missing end counts only where `theirs` has leaves of its own. */
function firstUnequal(mine: readonly Uint8Array[], theirs: readonly Uint8Array[]): number | undefined {
  const at = theirs.findIndex((leaf, i) => {
    const own = mine[i]
    return own === undefined || Buffer.compare(own, leaf) !== 0
  })
  return at < 0 ? undefined : at
}
