import type { BoardCounts, JobBoard } from './jobs/job-board.ts'
import type { BoardState } from './jobs/task-feed.ts'

/** AO was silent for longer than a slow node takes to answer (ms). */
const AO_SILENCE_MS = 45_000

/** How the coordinator is. `ok` when everything it stands on answers. */
export interface Health {
  readonly ok: boolean
  /** `lagMs`: time since the results of the network process were last read to their end. */
  readonly ao: { readonly ok: boolean; readonly caughtUp: boolean; readonly lagMs: number | undefined }
  /** `store`: where the tasks are. */
  readonly board: {
    readonly ok: boolean
    readonly store: JobBoard['store']
    readonly state: BoardState
    readonly tasks: BoardCounts | undefined
  }
  readonly p2p: { readonly ok: boolean; readonly peers: number; readonly subscribers: number }
}

/** Judges what the parts report. Without any registered miner there is nobody to be connected to. */
export function healthOf(parts: {
  readonly caughtUp: boolean
  readonly lagMs: number | undefined
  readonly store: JobBoard['store']
  readonly state: BoardState
  readonly tasks: BoardCounts | undefined
  readonly peers: number
  readonly subscribers: number
  readonly miners: number
}): Health {
  const { caughtUp, lagMs, store, state, tasks, peers, subscribers, miners } = parts
  const ao = { ok: caughtUp && lagMs !== undefined && lagMs < AO_SILENCE_MS, caughtUp, lagMs }
  const board = { ok: state === 'ready' && tasks !== undefined, store, state, tasks }
  const p2p = { ok: miners === 0 || peers > 0, peers, subscribers }
  return { ok: ao.ok && board.ok && p2p.ok, ao, board, p2p }
}
