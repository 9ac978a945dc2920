import type { Clock } from '../kit/time.ts'
import type { ClockView } from '../protocol/views.ts'

/** One message advances network time by at most this much (ms): the rule of the network contract. */
export const MAX_CLOCK_STEP_MS = 120_000
/** How far the scheduler's clock may be ahead of ours (ms); NTP keeps machines well within it. */
const MAX_CLOCK_SKEW_MS = 5_000

/** The network's clock as last published, and when we saw it. All in ms. */
export interface ClockSeen {
  /** Network time. */
  readonly network: number
  /** The scheduler's timestamp of the message that published it. */
  readonly timestamp: number
  /** Our wall time when the publication arrived. */
  readonly seenAt: number
}

interface ClockFeed {
  onChange(listener: (change: { readonly kind: string; readonly clock?: ClockView }) => void): void
}

/** Follows the clock that a feed tells of; what it gives is undefined until the first publication. */
export function seenClock(feed: ClockFeed, time: Clock): () => ClockSeen | undefined {
  let seen: ClockSeen | undefined
  feed.onChange(({ clock }) => {
    if (clock) seen = { ...clock, seenAt: time.now() }
  })
  return () => seen
}

/**
 * The wall time (ms) from which one message brings network time to `due`, or as near to it as one message can.
 * Counts from when the clock was seen, so that a scheduler whose clock differs from ours is not asked too early.
 */
export function wallTimeOf(due: number, clock: ClockSeen): number {
  const since = Math.min(clock.seenAt, clock.timestamp + MAX_CLOCK_SKEW_MS)
  const left = Math.max(0, due - clock.network)
  return since + Math.min(left, MAX_CLOCK_STEP_MS)
}
