import type { Logger } from '@apus/shared/kit'
import type { BoardCounts, HandedOut, HandOut, JobBoard } from '../jobs/job-board.ts'
import { THROWN_RETRY_MS } from '../jobs/job-board.ts'
import type { Task } from '../jobs/task.ts'

/** Tasks handed out at the same time by one board; each is one short request to a miner. */
const CONCURRENCY = 64

interface Entry {
  readonly task: Task
  state: 'waiting' | 'handing' | 'leased' | 'done'
  times: number
  /** Taken down while it was in somebody's hand: it goes when the hand lets go of it. */
  dropped: boolean
  timer?: NodeJS.Timeout
}

/** What several boards of one program share: the twin of a Redis server. */
export class MemoryStore {
  readonly entries = new Map<string, Entry>()
  readonly waiting = new Set<Entry>()
  readonly boards = new Set<() => void>()

  wait(entry: Entry): void {
    entry.state = 'waiting'
    this.waiting.add(entry)
  }

  wakeAll(): void {
    for (const wake of this.boards) wake()
  }

  forget(entry: Entry): void {
    clearTimeout(entry.timer)
    this.waiting.delete(entry)
    this.entries.delete(entry.task.id)
  }
}

/**
 * The board for a coordinator without Redis: the same promises as those of the BullMQ board, kept for as long as the
 * program lives. It holds the tasks that are wanted and those in hand, no others.
 */
export function createMemoryBoard(log: Logger, store: MemoryStore = new MemoryStore()): JobBoard {
  const inHand = new Set<Promise<void>>()
  let handOut: HandOut | undefined

  const wake = (): void => {
    for (const entry of store.waiting) {
      if (handOut === undefined || inHand.size >= CONCURRENCY) return
      store.waiting.delete(entry)
      entry.state = 'handing'
      const work = hand(entry, handOut).finally(() => {
        inHand.delete(work)
        wake()
      })
      inHand.add(work)
    }
  }

  const hand = async (entry: Entry, to: HandOut): Promise<void> => {
    entry.times += 1
    const result = await to(entry.task, entry.times).catch((err: unknown): HandedOut => {
      log.warn({ err, task: entry.task.id }, 'A task could not be handed out.')
      return { kind: 'later', afterMs: THROWN_RETRY_MS }
    })
    if (entry.dropped) return store.forget(entry)
    if (result.kind === 'done') {
      entry.state = 'done'
      return
    }
    entry.state = 'leased'
    // A lease keeps no program alive that has been told to stop.
    entry.timer = setTimeout(() => {
      store.wait(entry)
      store.wakeAll()
    }, result.afterMs).unref()
  }

  return {
    store: 'memory',
    open: async to => {
      handOut = to
      store.boards.add(wake)
      wake()
    },
    post: async tasks => {
      for (const task of tasks) {
        const known = store.entries.get(task.id)
        if (known !== undefined) {
          known.dropped = false
          continue
        }
        const entry: Entry = { task, state: 'waiting', times: 0, dropped: false }
        store.entries.set(task.id, entry)
        store.wait(entry)
      }
      store.wakeAll()
    },
    drop: async ids => {
      for (const id of ids) {
        const entry = store.entries.get(id)
        if (entry === undefined) continue
        if (entry.state === 'handing') entry.dropped = true
        else store.forget(entry)
      }
    },
    counts: async () => {
      const counts = { waiting: 0, handing: 0, leased: 0 }
      for (const { state } of store.entries.values()) if (state !== 'done') counts[state] += 1
      return counts satisfies BoardCounts
    },
    close: async () => {
      store.boards.delete(wake)
      handOut = undefined
      await Promise.all(inHand)
    },
  }
}
