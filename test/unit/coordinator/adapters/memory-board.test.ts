import { digest } from '@apus/shared/hashing'
import { createLogger } from '@apus/shared/kit'
import type { Address, JobId } from '@apus/shared/protocol'
import { afterEach, beforeEach, expect, test, vi } from 'vitest'
import { createMemoryBoard, MemoryStore } from '../../../../coordinator/src/adapters/memory-board.ts'
import type { HandedOut } from '../../../../coordinator/src/jobs/job-board.ts'
import type { Task } from '../../../../coordinator/src/jobs/task.ts'

const log = createLogger({ name: 'test', level: 'silent' })
const task = (n: number): Task => ({
  id: digest('test/task', String(n)) as Task['id'],
  job: digest('test/job', String(n)) as JobId,
  miner: digest('test/miner', String(n)) as Address,
  draw: 0,
})
const tasks = (count: number): Task[] => Array.from({ length: count }, (_, n) => task(n))
const NOTHING = { waiting: 0, handing: 0, leased: 0 }

let store: MemoryStore
let inHand: ((result: HandedOut) => void)[]
const handOut = () => new Promise<HandedOut>(resolve => inHand.push(resolve))
const letGo = async (result: HandedOut): Promise<void> => {
  for (const resolve of inHand.splice(0)) resolve(result)
  await vi.advanceTimersByTimeAsync(0)
}

beforeEach(() => {
  vi.useFakeTimers()
  store = new MemoryStore()
  inHand = []
})
afterEach(() => {
  vi.useRealTimers()
})

test('hands out only as many tasks at a time as miners can be asked, and all tasks in the end', async () => {
  const board = createMemoryBoard(log, store)
  await board.open(handOut)
  await board.post(tasks(150))
  expect(await board.counts()).toEqual({ waiting: 86, handing: 64, leased: 0 })
  await letGo({ kind: 'done' })
  expect(await board.counts()).toEqual({ waiting: 22, handing: 64, leased: 0 })
  await letGo({ kind: 'done' })
  await letGo({ kind: 'done' })
  expect(await board.counts()).toEqual(NOTHING)
})

test.each<HandedOut>([{ kind: 'done' }, { kind: 'later', afterMs: 10 }])(
  'keeps nothing of a task that was dropped in somebody’s hand ($kind)',
  async result => {
    const board = createMemoryBoard(log, store)
    await board.open(handOut)
    await board.post([task(1)])
    await board.drop([task(1).id])
    expect(await board.counts()).toEqual({ waiting: 0, handing: 1, leased: 0 })
    await letGo(result)
    await vi.advanceTimersByTimeAsync(60_000)
    expect(inHand).toEqual([])
    expect(store.entries.size).toBe(0)
  },
)

test('keeps a task that is posted again while its dropped hand-out still runs', async () => {
  const board = createMemoryBoard(log, store)
  await board.open(handOut)
  await board.post([task(1)])
  await board.drop([task(1).id])
  await board.post([task(1)])
  await letGo({ kind: 'later', afterMs: 10 })
  expect(await board.counts()).toEqual({ waiting: 0, handing: 0, leased: 1 })
})

test('remembers a finished task until the task is dropped, and then nothing of it', async () => {
  const board = createMemoryBoard(log, store)
  await board.open(handOut)
  await board.post(tasks(3))
  await letGo({ kind: 'done' })
  await board.post(tasks(3))
  expect(inHand).toEqual([])
  await board.drop(tasks(3).map(({ id }) => id))
  expect(store.entries.size).toBe(0)
})
