import { digest } from '@apus/shared/hashing'
import { ApusError, createLogger } from '@apus/shared/kit'
import type { Address, JobId } from '@apus/shared/protocol'
import { afterEach, beforeEach, describe, expect, test, vi } from 'vitest'
import { createMemoryBoard } from '../../../../coordinator/src/adapters/memory-board.ts'
import type { JobBoard } from '../../../../coordinator/src/jobs/job-board.ts'
import type { Task } from '../../../../coordinator/src/jobs/task.ts'
import { TaskFeed } from '../../../../coordinator/src/jobs/task-feed.ts'

const log = createLogger({ name: 'test', level: 'silent' })
const task = (n: number): Task => ({
  id: digest('test/task', String(n)) as Task['id'],
  job: digest('test/job') as JobId,
  miner: digest('test/miner', String(n)) as Address,
  draw: 0,
})

/** A board that can be cut off and can lose its memory. */
function fragileBoard() {
  let inner = createMemoryBoard(log)
  const state = { down: false, opened: 0 }
  const guard = async <T>(answer: () => Promise<T>): Promise<T> => {
    if (state.down) throw new ApusError('redis-unavailable', 'No answer.', { retry: true })
    return answer()
  }
  let handOut: Parameters<JobBoard['open']>[0]
  const board: JobBoard = {
    store: 'memory',
    open: to =>
      guard(() => {
        state.opened += 1
        handOut = to
        return inner.open(to)
      }),
    post: tasks => guard(() => inner.post(tasks)),
    drop: ids => guard(() => inner.drop(ids)),
    counts: () => guard(() => inner.counts()),
    close: () => inner.close(),
  }
  return {
    board,
    state,
    forget: async () => {
      await inner.close()
      inner = createMemoryBoard(log)
      await inner.open(handOut)
    },
  }
}

describe('the feed of the board', () => {
  let fragile: ReturnType<typeof fragileBoard>
  let feed: TaskFeed
  let handed: string[]

  beforeEach(() => {
    vi.useFakeTimers()
    handed = []
    fragile = fragileBoard()
    feed = new TaskFeed({
      board: fragile.board,
      handOut: async t => {
        handed.push(t.id)
        return { kind: 'later', afterMs: 3_600_000 }
      },
      time: { now: () => Date.now() },
      log,
    })
  })
  afterEach(async () => {
    const stopped = feed.stop()
    await vi.advanceTimersByTimeAsync(1_000)
    await stopped
    vi.useRealTimers()
  })
  const pass = (ms: number) => vi.advanceTimersByTimeAsync(ms)

  test('posts each wanted task once and drops tasks that are no longer wanted', async () => {
    feed.start()
    feed.want([task(1), task(2)])
    await pass(10)
    feed.want([task(1), task(2), task(3)])
    await pass(1_000)
    expect(handed).toEqual([task(1).id, task(2).id, task(3).id])
    feed.want([task(3)])
    await pass(10)
    expect(await fragile.board.counts()).toEqual({ waiting: 0, handing: 0, leased: 1 })
    expect(feed.state).toBe('ready')
  })

  test('waits for a board that is absent at the start', async () => {
    fragile.state.down = true
    feed.start()
    feed.want([task(1)])
    await pass(30_000)
    expect(feed.state).toBe('failing')
    fragile.state.down = false
    await pass(15_000)
    expect(handed).toEqual([task(1).id])
    expect(feed.state).toBe('ready')
    expect(fragile.state.opened).toBe(1)
  })

  test('catches up after an outage of the board, and asks it no more than every few seconds meanwhile', async () => {
    feed.start()
    feed.want([task(1)])
    await pass(10)
    fragile.state.down = true
    feed.want([task(1), task(2)])
    await pass(60_000)
    expect(feed.state).toBe('failing')
    feed.want([task(2)])
    fragile.state.down = false
    await pass(15_000)
    expect(handed).toContain(task(2).id)
    expect(await fragile.board.counts()).toMatchObject({ leased: 1 })
    expect(feed.state).toBe('ready')
  })

  test('gives a board that lost its memory all tasks again', async () => {
    feed.start()
    feed.want([task(1), task(2)])
    await pass(10)
    await fragile.forget()
    await pass(62_000)
    feed.want([task(1), task(2)])
    await pass(1_000)
    expect(handed.filter(id => id === task(1).id)).toHaveLength(2)
  })
})
