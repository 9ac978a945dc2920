import { type ChildProcess, spawn } from 'node:child_process'
import { mkdtemp, rm } from 'node:fs/promises'
import { createServer } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { digest } from '@apus/shared/hashing'
import { createLogger, Secret } from '@apus/shared/kit'
import type { Address, JobId } from '@apus/shared/protocol'
import { afterEach, beforeEach, describe, expect, test, vi } from 'vitest'
import { createBullmqBoard } from '../../coordinator/src/adapters/bullmq-board.ts'
import type { JobBoard } from '../../coordinator/src/jobs/job-board.ts'
import type { Task } from '../../coordinator/src/jobs/task.ts'
import { type RedisServer, startRedis } from '../../deploy/localnet/redis.ts'
import { needsRedis } from '../support/parts.ts'

const log = createLogger({ name: 'test', level: 'silent' })
const WAIT = { timeout: 30_000, interval: 20 }

const task = (n: number): Task => ({
  id: digest('test/task', String(n)) as Task['id'],
  job: digest('test/job', String(n)) as JobId,
  miner: digest('test/miner', String(n)) as Address,
  draw: 0,
})

describe('the board when Redis or a coordinator dies', await needsRedis(), () => {
  let dir: string
  let redis: RedisServer
  const open: JobBoard[] = []
  const children: ChildProcess[] = []

  beforeEach(async () => {
    dir = await mkdtemp(join(tmpdir(), 'apus-board-'))
    redis = await startRedis({ dir })
  })

  afterEach(async () => {
    for (const child of children.splice(0)) child.kill('SIGKILL')
    await Promise.all(open.splice(0).map(board => board.close()))
    await redis.stop()
    await rm(dir, { recursive: true, force: true })
  })

  const board = (url = redis.url): JobBoard => {
    const created = createBullmqBoard({ redis: new Secret(url), name: 'test', log, lockMs: 1_000 })
    open.push(created)
    return created
  }

  test('Redis that does not run at the start is an error that may be retried', async () => {
    await redis.kill()
    const later = board()
    await expect(later.open(async () => ({ kind: 'done' }))).rejects.toMatchObject({
      code: 'redis-unavailable',
      retry: true,
    })
    await expect(later.post([task(1)])).rejects.toMatchObject({ code: 'redis-unavailable' })
    await redis.start()
    const handed: string[] = []
    await later.open(async t => {
      handed.push(t.id)
      return { kind: 'done' }
    })
    await later.post([task(1)])
    await vi.waitFor(() => expect(handed).toEqual([task(1).id]), WAIT)
  })

  test('another program at the port of Redis is the same error', async () => {
    const silent = createServer(socket => socket.resume().end('HTTP/1.1 400 Bad Request\r\n\r\n'))
    await new Promise<void>(resolve => silent.listen(0, '127.0.0.1', resolve))
    const { port } = silent.address() as { port: number }
    await expect(
      board(`redis://127.0.0.1:${port}`).open(async () => ({ kind: 'done' })),
    ).rejects.toMatchObject({ code: 'redis-unavailable' })
    await new Promise(resolve => silent.close(resolve))
  })

  test('killing Redis three times loses no task and ends no lease for ever', async () => {
    const handed = new Map<string, number>()
    const desk = board()
    await desk.open(async (t, time) => {
      handed.set(t.id, time)
      return time < 3 ? { kind: 'later', afterMs: 100 } : { kind: 'done' }
    })
    const all = Array.from({ length: 120 }, (_, n) => task(n))
    for (let round = 0; round < 3; round++) {
      const part = all.slice(round * 40, round * 40 + 40)
      await vi.waitFor(() => desk.post(part), WAIT)
      await redis.kill()
      await expect(desk.post(part)).rejects.toMatchObject({ code: 'redis-unavailable' })
      await redis.start()
    }
    await vi.waitFor(async () => {
      expect(handed.size).toBe(120)
      expect(await desk.counts()).toEqual({ waiting: 0, handing: 0, leased: 0 })
    }, WAIT)
    expect([...handed.values()].every(times => times >= 3)).toBe(true)
  })

  test('closes within seconds while Redis is dead', async () => {
    const desk = board()
    let holding = 0
    await desk.open(async () => {
      holding += 1
      return { kind: 'later', afterMs: 50 }
    })
    await desk.post([task(1), task(2)])
    await vi.waitFor(() => expect(holding).toBeGreaterThan(1), WAIT)
    await redis.kill()
    await desk.close()
  })

  test('the tasks of a coordinator that is killed while it hands them out go to the next coordinator', async () => {
    const program = fileURLToPath(new URL('../support/holding-board.ts', import.meta.url))
    const child = spawn(process.execPath, [program, redis.url], { stdio: ['ignore', 'pipe', 'inherit'] })
    children.push(child)
    const held = await new Promise<string>(resolve =>
      child.stdout.once('data', data => resolve(String(data))),
    )
    expect(held).toContain('holding')
    child.kill('SIGKILL')
    const taken: number[] = []
    const desk = board()
    await desk.open(async (_task, time) => {
      taken.push(time)
      return { kind: 'done' }
    })
    await vi.waitFor(() => expect(taken).toEqual([2]), WAIT)
  })
})
