import { mkdtemp, rm, writeFile } from 'node:fs/promises'
import { connect } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, beforeEach, describe, expect, test, vi } from 'vitest'
import { type RedisServer, startRedis } from '../../deploy/localnet/redis.ts'
import { ensureRedis } from '../../deploy/setup/redis.mjs'
import { needsRedis } from '../support/parts.ts'

const withRedis = await needsRedis()

describe('a Redis of our own', withRedis, () => {
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

  /** One command in Redis' inline form, and its raw reply. */
  const ask = (command: string): Promise<string> =>
    new Promise((resolve, reject) => {
      const socket = connect(server.port, '127.0.0.1')
      let reply = ''
      socket.on('data', data => {
        reply += data
      })
      socket.once('end', () => resolve(reply))
      socket.once('error', reject)
      socket.write(`${command}\r\nQUIT\r\n`)
    })

  test('listens on loopback only, logs every change and never evicts', async () => {
    const settings = await ask('CONFIG GET bind\r\nCONFIG GET appendonly\r\nCONFIG GET maxmemory-policy')
    expect(settings).toContain('127.0.0.1')
    expect(settings).toContain('yes')
    expect(settings).toContain('noeviction')
  })

  test('keeps what was written through an orderly stop and through a kill', async () => {
    await ask('SET a one')
    await server.stop()
    expect(server.pid).toBeUndefined()
    await server.start()
    await ask('SET b two')
    await server.kill()
    await expect(ask('GET a')).rejects.toThrow()
    await server.start()
    expect((await ask('MGET a b')).split('\r\n')).toEqual(expect.arrayContaining(['one', 'two']))
  })

  test('says so when the port is taken', async () => {
    await expect(startRedis({ dir: join(dir, 'second'), port: server.port })).rejects.toMatchObject({
      code: 'port-in-use',
    })
  })
})

test('the set-up finds a Redis that is new enough', withRedis, async () => {
  expect((await ensureRedis()).path).toMatch(/redis-server$/)
})

describe('where there is no good redis-server', () => {
  let dir: string

  beforeEach(async () => {
    dir = await mkdtemp(join(tmpdir(), 'apus-redis-'))
    vi.stubEnv('PATH', dir)
  })

  afterEach(async () => {
    vi.unstubAllEnvs()
    await rm(dir, { recursive: true, force: true })
  })

  test('starting Redis says so', async () => {
    await expect(startRedis({ dir: join(dir, 'data') })).rejects.toMatchObject({ code: 'redis-missing' })
  })

  test('the set-up goes on without Redis, and says why', async () => {
    expect(await ensureRedis()).toEqual({ missing: 'redis-server is not installed' })
  })

  test('a redis-server that is too old counts as missing', async () => {
    const path = join(dir, 'redis-server')
    await writeFile(path, '#!/bin/sh\necho Redis server v=5.0.14 sha=0\n', { mode: 0o700 })
    expect(await ensureRedis()).toEqual({ missing: `${path} has version 5.0 (6.2 or newer is needed)` })
  })
})
