import type { DisputeView } from '../protocol/dispute.ts'

/**
 * Whether somebody in a dispute has run out of time, so that the next message of anyone decides it; `wallTimeOf` gives
 * the wall time (ms) at which network time reaches a deadline.
 */
export const isOverdue = (
  { state, deadline }: Pick<DisputeView, 'state' | 'deadline'>,
  wallTimeOf: (deadline: number) => number | undefined,
  now: number,
): boolean => {
  const at = state === 'running' && deadline !== undefined ? wallTimeOf(deadline) : undefined
  return at !== undefined && now > at
}
