export { type ClockSeen, seenClock } from './clock-seen.ts'
export type { TickReason } from './next-move.ts'
export { RoundKeeper } from './round-keeper.ts'
