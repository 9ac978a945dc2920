import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { Redis } from 'ioredis'
import { afterEach, beforeEach, describe, expect, test } from 'vitest'
import { type RedisServer, startRedis } from '../../deploy/localnet/redis.ts'
import { ensureRedis } from '../../deploy/setup/redis.mjs'

describe('a Redis of our own', () => {
  let dir: string
  let server: RedisServer

  beforeEach(async () => {
    dir = await mkdtemp(join(tmpdir(), 'apus-redis-'))
    server = await startRedis({ dir })
  })

  afterEach(async () => {
    await server.stop()
    await rm(dir, { recursive: true, force: true })
  })

  const ask = async <T>(question: (redis: Redis) => Promise<T>): Promise<T> => {
    const redis = new Redis(server.url, { lazyConnect: true, retryStrategy: () => null })
    redis.on('error', () => {})
    try {
      await redis.connect()
      return await question(redis)
    } finally {
      redis.disconnect()
    }
  }

  test('listens on loopback only, logs every change and never evicts', async () => {
    const settings = await ask(async redis => {
      const values = await Promise.all(
        ['bind', 'appendonly', 'maxmemory-policy'].map(name => redis.config('GET', name)),
      )
      return JSON.stringify(values)
    })
    expect(settings).toContain('127.0.0.1')
    expect(settings).toContain('"yes"')
    expect(settings).toContain('"noeviction"')
  })

  test('keeps what was written through an orderly stop and through a kill', async () => {
    await ask(redis => redis.set('a', '1'))
    await server.stop()
    expect(server.pid).toBeUndefined()
    await server.start()
    await ask(redis => redis.set('b', '2'))
    await server.kill()
    await expect(ask(redis => redis.get('a'))).rejects.toThrow()
    await server.start()
    expect(await ask(redis => redis.mget('a', 'b'))).toEqual(['1', '2'])
  })

  test('says so when the port is taken', async () => {
    await expect(startRedis({ dir: join(dir, 'second'), port: server.port })).rejects.toMatchObject({
      code: 'port-in-use',
    })
  })

  test('says so when the program is missing', async () => {
    await expect(
      startRedis({ dir: join(dir, 'third'), program: join(dir, 'no-such-program') }),
    ).rejects.toMatchObject({ code: 'redis-missing' })
  })
})

test('the set-up finds a Redis that is new enough', async () => {
  expect(await ensureRedis()).toMatch(/redis-server$/)
})
