import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { digest } from '@apus/shared/hashing'
import { createLogger, Secret } from '@apus/shared/kit'
import type { Address, JobId } from '@apus/shared/protocol'
import { afterAll, afterEach, beforeAll, describe, expect, type TestOptions, test, vi } from 'vitest'
import { createBullmqBoard } from '../../coordinator/src/adapters/bullmq-board.ts'
import { createMemoryBoard, MemoryStore } from '../../coordinator/src/adapters/memory-board.ts'
import type { HandOut, JobBoard } from '../../coordinator/src/jobs/job-board.ts'
import type { Task } from '../../coordinator/src/jobs/task.ts'
import { type RedisServer, startRedis } from '../../deploy/localnet/redis.ts'
import { needsRedis } from '../support/parts.ts'

const log = createLogger({ name: 'test', level: 'silent' })
const WAIT = { timeout: 20_000, interval: 10 }
const withRedis = await needsRedis()
let dir: string
let redis: RedisServer | undefined

beforeAll(async () => {
  dir = await mkdtemp(join(tmpdir(), 'apus-board-'))
  if (!withRedis.skip) redis = await startRedis({ dir })
})

afterAll(async () => {
  await redis?.stop()
  await rm(dir, { recursive: true, force: true })
})

const task = (n: number): Task => ({
  id: digest('test/task', String(n)) as Task['id'],
  job: digest('test/job', String(n)) as JobId,
  miner: digest('test/miner', String(n)) as Address,
  draw: 0,
})
const tasks = (count: number): Task[] => Array.from({ length: count }, (_, n) => task(n))

let boards = 0
const stores = {
  memory: () => {
    const store = new MemoryStore()
    return () => createMemoryBoard(log, store)
  },
  redis: () => {
    const name = `board-${boards++}`
    return () => createBullmqBoard({ redis: new Secret(redis!.url), name, log, lockMs: 1_000 })
  },
}

const suites: [string, TestOptions, () => () => JobBoard][] = [
  ['memory', {}, stores.memory],
  ['redis', withRedis, stores.redis],
]

for (const [name, options, store] of suites)
  describe(`job board on ${name}`, options, () => {
    const open: JobBoard[] = []
    const opened = async (create: () => JobBoard, handOut: HandOut): Promise<JobBoard> => {
      const board = create()
      open.push(board)
      await board.open(handOut)
      return board
    }

    afterEach(async () => {
      await Promise.all(open.splice(0).map(board => board.close()))
    })

    test('hands out each task once, however often it is posted, to one of two boards', async () => {
      const create = store()
      const handed: string[] = []
      const handOut: HandOut = async t => {
        handed.push(t.id)
        return { kind: 'done' }
      }
      const first = await opened(create, handOut)
      const second = await opened(create, handOut)
      await Promise.all([first.post(tasks(40)), second.post(tasks(40)), first.post(tasks(20))])
      await vi.waitFor(() => expect(handed).toHaveLength(40), WAIT)
      await second.post(tasks(40))
      await vi.waitFor(
        async () => expect(await first.counts()).toEqual({ waiting: 0, handing: 0, leased: 0 }),
        WAIT,
      )
      expect(new Set(handed).size).toBe(40)
      expect(handed).toHaveLength(40)
    })

    test('hands a task out again when its lease ends, and counts the times', async () => {
      const times: number[] = []
      const board = await opened(store(), async (_task, time) => {
        times.push(time)
        return time < 3 ? { kind: 'later', afterMs: 50 } : { kind: 'done' }
      })
      await board.post([task(1)])
      await vi.waitFor(() => expect(times).toEqual([1, 2, 3]), WAIT)
    })

    test('does not hand a task out while its lease runs', async () => {
      let handed = 0
      const board = await opened(store(), async () => {
        handed += 1
        return { kind: 'later', afterMs: 60_000 }
      })
      await board.post(tasks(3))
      await vi.waitFor(
        async () => expect(await board.counts()).toEqual({ waiting: 0, handing: 0, leased: 3 }),
        WAIT,
      )
      await board.post(tasks(3))
      expect(await board.counts()).toEqual({ waiting: 0, handing: 0, leased: 3 })
      expect(handed).toBe(3)
    })

    test('hands a task out again after the hand-out threw', async () => {
      const times: number[] = []
      const board = await opened(store(), async (_task, time) => {
        times.push(time)
        if (time === 1) throw new Error('the peer hung up')
        return { kind: 'done' }
      })
      await board.post([task(1)])
      await vi.waitFor(() => expect(times).toEqual([1, 2]), WAIT)
    })

    test('forgets dropped tasks, also those it does not know', async () => {
      const handed: string[] = []
      const board = await opened(store(), async (t, time) => {
        handed.push(t.id)
        return time === 1 ? { kind: 'later', afterMs: 300 } : { kind: 'done' }
      })
      await board.post([task(1), task(2)])
      await vi.waitFor(async () => expect((await board.counts()).leased).toBe(2), WAIT)
      await board.drop([task(1).id, task(9).id])
      await vi.waitFor(() => expect(handed).toHaveLength(3), WAIT)
      expect(handed.filter(id => id === task(1).id)).toHaveLength(1)
      expect(await board.counts()).toEqual({ waiting: 0, handing: 0, leased: 0 })
    })

    test('gives what is left to the next board after closing, and finishes what is in hand first', async () => {
      const create = store()
      let finish: () => void = () => {}
      const inHand = new Promise<void>(resolve => {
        finish = resolve
      })
      const first: string[] = []
      const second: string[] = []
      const before = await opened(create, async t => {
        first.push(t.id)
        if (t.id === task(0).id) await inHand
        return t.id === task(0).id ? { kind: 'done' } : { kind: 'later', afterMs: 200 }
      })
      await before.post(tasks(5))
      await vi.waitFor(() => expect(first).toHaveLength(5), WAIT)
      const closed = before.close()
      finish()
      await closed
      await opened(create, async t => {
        second.push(t.id)
        return { kind: 'done' }
      })
      await vi.waitFor(() => expect(second).toHaveLength(4), WAIT)
      expect(second).not.toContain(task(0).id)
    })
  })
