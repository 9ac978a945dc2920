import type { Task } from './task.ts'

/**
 * What became of a task that was handed out. `done`: it needs nobody any more. `later`: somebody holds a lease on it;
 * it is handed out again when the lease ends.
 */
export type HandedOut = { readonly kind: 'done' } | { readonly kind: 'later'; readonly afterMs: number }

/** Called with each task when it is due; `attempt` is 1 for the first time. If it throws, the task is due again soon. */
export type HandOut = (task: Task, attempt: number) => Promise<HandedOut>

export interface BoardCounts {
  /** Due, not yet handed out. */
  readonly waiting: number
  /** Being handed out right now, by any coordinator at this board. */
  readonly handing: number
  /** Under a lease. */
  readonly leased: number
}

/**
 * The board of tasks, shared by all coordinators at the same store. A task is with one of them at a time; one that
 * dies while it hands a task out loses it to the others.
 */
export interface JobBoard {
  /** Where the tasks are: what is in memory is forgotten when its program ends, and no other coordinator sees it. */
  readonly store: 'redis' | 'memory'
  /** Connects and begins to hand out. Fails with `redis-unavailable` (retry) or `redis-too-old`. */
  open(handOut: HandOut): Promise<void>
  /** Puts up tasks; those already there, or done not long ago, stay as they are. */
  post(tasks: readonly Task[]): Promise<void>
  /** Takes down tasks that nobody has to do any more. */
  drop(ids: readonly Task['id'][]): Promise<void>
  counts(): Promise<BoardCounts>
  /** Ends handing out, after what is in hand; all that is on the board stays. */
  close(): Promise<void>
}

/** A task whose hand-out threw is due again after this long (ms). */
export const THROWN_RETRY_MS = 1_000
