import { spawn } from 'node:child_process'
import { writeFile } from 'node:fs/promises'
import { createServer } from 'node:net'
import { join } from 'node:path'
import type { NetworkFeed } from '@apus/shared/network'
import { ENDED, type JobId, type JobView } from '@apus/shared/protocol'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { Child } from '../../deploy/localnet/child.ts'
import type { RedisServer } from '../../deploy/localnet/redis.ts'
import type { LoadedModel } from '../../node/src/engine/engine.ts'
import { noOpModel } from '../support/no-op-model.ts'
import { needsRedis } from '../support/parts.ts'
import { MODEL, type SmallNetwork, startSmallNetwork, until } from '../support/small-network.ts'

const PROGRAM = join(import.meta.dirname, '../../coordinator/src/main.ts')
const WINDOWS = {
  commitWindow: 30_000,
  revealWindow: 30_000,
  disputeWindow: 1_000,
  drawTimeout: 30_000,
  drawRetry: 2_000,
}

/** A model whose runs wait until the test lets them go. */
function heldModel(): LoadedModel & { release(): void; hold(): void; readonly waiting: number } {
  const quick = noOpModel(MODEL)
  let gate = Promise.resolve()
  let open = () => {}
  let waiting = 0
  return {
    ...quick,
    get waiting() {
      return waiting
    },
    hold: () => {
      gate = new Promise(resolve => {
        open = resolve
      })
    },
    release: () => open(),
    generate: async (request, signal, onToken) => {
      waiting += 1
      await gate
      waiting -= 1
      return quick.generate(request, signal, onToken)
    },
  }
}

describe('a coordinator program through crashes', await needsRedis(), () => {
  let net: SmallNetwork
  let redis: RedisServer
  let feed: NetworkFeed
  let program: Child
  const model = heldModel()

  beforeAll(async () => {
    net = await startSmallNetwork({ name: 'crash', miners: 4, parameters: WINDOWS })
    redis = await net.startRedis()
    feed = await net.follow(100)
    const config = join(net.dir, 'coordinator.json')
    await writeFile(
      config,
      JSON.stringify({
        network: net.network,
        token: net.token,
        ao: net.ao,
        redis: redis.url,
        httpPort: 0,
        pollMs: 200,
        peers: { listen: [`/ip4/127.0.0.1/tcp/${await freePort()}`] },
      }),
    )
    program = await Child.start({
      name: 'coordinator',
      script: PROGRAM,
      args: ['start', '--config', config],
      logFile: join(net.dir, 'coordinator.log'),
    })
    for (const miner of net.miners) await net.startMiner(miner, program.ready.addresses as string[], model)
  })
  afterAll(async () => {
    await program?.stop()
    await net?.close()
  })

  const submit = (): Promise<JobId> =>
    net.requester.client.submitJob({ model: MODEL, prompt: 'Say nothing.', maxTokens: 16, redundancy: 3 })
  const settled = async (id: JobId): Promise<JobView> => {
    await until(() => ENDED.includes(feed.mirror.jobs.get(id)?.state ?? 'submitted'))
    const job = feed.mirror.jobs.get(id)!
    expect(job.state).toBe('settled')
    expect(job.seats.every(seat => seat.paid !== undefined)).toBe(true)
    expect(await net.conserved()).toBe(true)
    return job
  }
  const health = async () => {
    const answer = await fetch(`${program.ready.url}/health`)
    return {
      status: answer.status,
      body: (await answer.json()) as { board: { store: string; state: string } },
    }
  }
  const healthy = () => until(async () => (await health()).status === 200)
  /** A job whose seats are all at work. */
  const underWay = async (): Promise<JobId> => {
    await healthy()
    model.hold()
    const id = await submit()
    await until(() => model.waiting === 3)
    return id
  }

  test('its own crash: killed while seats compute, and again while they reveal', async () => {
    const id = await underWay()
    await program.crash()
    model.release()
    await until(() => feed.mirror.jobs.get(id)?.state === 'auditing')
    await program.restart()
    await until(() => ['revealing', 'agreed', 'settled'].includes(feed.mirror.jobs.get(id)?.state ?? ''))
    await program.crash()
    await program.restart()
    await settled(id)
  })

  test('a crash of Redis: work goes on, is reported, and what was on the board is done afterwards', async () => {
    const id = await underWay()
    await redis.kill()
    await until(async () => (await health()).status === 503)
    const other = await submit()
    model.release()
    await settled(id)
    await redis.start()
    await healthy()
    await settled(other)
  })

  test('a crash of the AO units: killed while seats compute', async () => {
    const id = await underWay()
    await net.units.kill()
    model.release()
    await net.restartUnits()
    await settled(id)
    await healthy()
  })

  test('starts without Redis, says so, and begins as soon as it is there', async () => {
    await program.stop()
    await redis.kill()
    await program.restart()
    await until(async () => (await health()).body.board.state === 'failing')
    const id = await submit()
    await redis.start()
    await settled(id)
    await healthy()
  })

  test('ends with code 0 when it is told to stop, and names what is wrong with its settings', async () => {
    const run = (...args: string[]) =>
      new Promise<{ code: number | null; said: string }>(resolve => {
        const child = spawn(process.execPath, [PROGRAM, 'start', '--config', ...args])
        let said = ''
        child.stdout.on('data', () => child.kill('SIGTERM'))
        child.stderr.on('data', data => {
          said += data
        })
        child.on('exit', code => resolve({ code, said }))
      })
    await program.stop()
    expect(await run(program.program.args[2]!)).toMatchObject({ code: 0 })
    expect(await run(join(net.dir, 'missing.json'))).toMatchObject({
      code: 1,
      said: expect.stringContaining('config-missing'),
    })
    const wrong = join(net.dir, 'wrong.json')
    await writeFile(wrong, JSON.stringify({ network: 'short', polMs: 5 }))
    const refused = await run(wrong)
    expect(refused).toMatchObject({ code: 1, said: expect.stringContaining('config-invalid') })
    expect(refused.said).toContain('polMs')
    await program.restart()
    await settled(await submit())
  })
})

async function freePort(): Promise<number> {
  const server = createServer()
  await new Promise<void>(resolve => server.listen(0, '127.0.0.1', resolve))
  const { port } = server.address() as { port: number }
  await new Promise(resolve => server.close(resolve))
  return port
}
