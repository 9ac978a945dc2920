import type { BoardCounts, HandOut, JobBoard } from '../jobs/job-board.ts'
import { THROWN_RETRY_MS } from '../jobs/job-board.ts'
import type { Task } from '../jobs/task.ts'

interface Entry {
  readonly task: Task
  state: 'waiting' | 'handing' | 'leased' | 'done'
  times: number
  timer?: NodeJS.Timeout
}

/** What several boards of one program share: the twin of a Redis server. */
export class MemoryStore {
  readonly entries = new Map<string, Entry>()
  readonly boards = new Set<() => void>()

  wakeAll(): void {
    for (const wake of this.boards) wake()
  }
}

/** The in-memory twin of the BullMQ board: the same promises, kept for as long as the program lives. */
export function createMemoryBoard(store: MemoryStore = new MemoryStore()): JobBoard {
  const inHand = new Set<Promise<void>>()
  let handOut: HandOut | undefined

  const wake = (): void => {
    for (const entry of store.entries.values()) {
      if (handOut === undefined) return
      if (entry.state !== 'waiting') continue
      entry.state = 'handing'
      const work = hand(entry, handOut).finally(() => inHand.delete(work))
      inHand.add(work)
    }
  }

  const hand = async (entry: Entry, to: HandOut): Promise<void> => {
    entry.times += 1
    const result = await to(entry.task, entry.times).catch(() => ({
      kind: 'later' as const,
      afterMs: THROWN_RETRY_MS,
    }))
    if (store.entries.get(entry.task.id) !== entry) return
    if (result.kind === 'done') {
      entry.state = 'done'
      return
    }
    entry.state = 'leased'
    entry.timer = setTimeout(() => {
      entry.state = 'waiting'
      store.wakeAll()
    }, result.afterMs)
  }

  return {
    open: async to => {
      handOut = to
      store.boards.add(wake)
      wake()
    },
    post: async tasks => {
      for (const task of tasks) {
        if (!store.entries.has(task.id)) store.entries.set(task.id, { task, state: 'waiting', times: 0 })
      }
      store.wakeAll()
    },
    drop: async ids => {
      for (const id of ids) {
        const entry = store.entries.get(id)
        if (entry === undefined || entry.state === 'handing') continue
        clearTimeout(entry.timer)
        store.entries.delete(id)
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
