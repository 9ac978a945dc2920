import { randomBytes } from 'node:crypto'
import { mkdtemp, rm } from 'node:fs/promises'
import { type AddressInfo, createServer, type Server } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { digest } from '@apus/shared/hashing'
import { createLogger } from '@apus/shared/kit'
import { NODE_KEY_BYTES, nodeKey } from '@apus/shared/p2p'
import type { ProcessId } from '@apus/shared/protocol'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { startAoUnits } from '../../deploy/ao-units/start-ao-units.ts'
import { startRedis } from '../../deploy/localnet/redis.ts'
import { ensureAosModule } from '../../deploy/setup/aos-module.mjs'
import { startStatusServer } from '../../node/src/miner/status-server.ts'
import { WorkMetrics } from '../../node/src/work/work-metrics.ts'
import { createHost } from '../../shared/src/p2p/host.ts'
import { needsRedis } from '../support/parts.ts'

const log = createLogger({ name: 'port-in-use', level: 'silent' })
let dir: string
let taken: Server
let port: number

/** Starts at a port, and gives the way to stop. */
type Start = (port: number) => Promise<() => Promise<unknown>>

const programs: Readonly<Record<string, Start>> = {
  "a miner's status server": async at => {
    const server = await startStatusServer(at, { registry: new WorkMetrics().registry, status: () => ({}) })
    return () => server.close()
  },
  'a peer': async at => {
    const host = await createHost({
      network: digest('test/network') as ProcessId,
      key: nodeKey(new Uint8Array(randomBytes(NODE_KEY_BYTES))),
      log,
      listen: [`/ip4/127.0.0.1/tcp/${at}`],
    })
    return () => host.stop()
  },
  'the AO units': async at => {
    const module = await ensureAosModule(join(import.meta.dirname, '../../.cache/aos'))
    const units = await startAoUnits({ dir: join(dir, 'ao'), port: at, module, threads: 1, log })
    return () => units.close()
  },
}
const startRedisAt: Start = async at => {
  const redis = await startRedis({ dir: join(dir, 'redis'), port: at })
  return () => redis.stop()
}

beforeAll(async () => {
  dir = await mkdtemp(join(tmpdir(), 'apus-port-'))
  taken = createServer()
  await new Promise<void>(resolve => taken.listen(0, '127.0.0.1', resolve))
  port = (taken.address() as AddressInfo).port
})
afterAll(async () => {
  await new Promise(resolve => taken.close(resolve))
  await rm(dir, { recursive: true, force: true })
})

describe('when its port is taken', async () => {
  const tellsAndLetsGo = async (start: Start): Promise<void> => {
    await expect(start(port)).rejects.toMatchObject({ code: 'port-in-use' })
    const free = createServer()
    await new Promise<void>(resolve => free.listen(0, '127.0.0.1', resolve))
    const other = (free.address() as AddressInfo).port
    await new Promise(resolve => free.close(resolve))
    const stop = await start(other)
    await stop()
  }

  it.each(Object.entries(programs))(
    '%s says so, and holds nothing that a second try needs',
    async (_, start) => tellsAndLetsGo(start),
  )
  it('Redis says so, and keeps nothing open that a second try needs', await needsRedis(), () =>
    tellsAndLetsGo(startRedisAt),
  )
})
