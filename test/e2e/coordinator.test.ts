import { randomBytes } from 'node:crypto'
import { Secret } from '@apus/shared/kit'
import type { NetworkFeed } from '@apus/shared/network'
import { NODE_KEY_BYTES, nodeKey } from '@apus/shared/p2p'
import { ENDED, type JobId, type JobView } from '@apus/shared/protocol'
import { afterAll, afterEach, beforeAll, describe, expect, test } from 'vitest'
import { createBullmqBoard } from '../../coordinator/src/adapters/bullmq-board.ts'
import { createMemoryBoard } from '../../coordinator/src/adapters/memory-board.ts'
import { type Coordinator, createCoordinator, type Ready } from '../../coordinator/src/coordinator.ts'
import type { RedisServer } from '../../deploy/localnet/redis.ts'
import { needsRedis } from '../support/parts.ts'
import { MODEL, type SmallNetwork, startSmallNetwork, until } from '../support/small-network.ts'

const WINDOWS = {
  commitWindow: 20_000,
  revealWindow: 20_000,
  disputeWindow: 1_000,
  drawTimeout: 20_000,
  drawRetry: 2_000,
}

describe('a coordinator on a real network', await needsRedis(), () => {
  let net: SmallNetwork
  let redis: RedisServer
  let feed: NetworkFeed
  const running: Coordinator[] = []

  beforeAll(async () => {
    net = await startSmallNetwork({ name: 'coordinator', miners: 4, parameters: WINDOWS })
    redis = await net.startRedis()
    feed = await net.follow(100)
  })
  afterEach(async () => {
    await Promise.all(running.splice(0).map(coordinator => coordinator.stop()))
  })
  afterAll(async () => {
    await net?.close()
  })

  const start = async (redisUrl = redis.url): Promise<Ready & { coordinator: Coordinator }> => {
    const { ao } = await net.party('coordinator')
    const coordinator = createCoordinator(
      { network: net.network, token: net.token, peers: {}, httpPort: 0, pollMs: 200 },
      {
        ao,
        key: nodeKey(new Uint8Array(randomBytes(NODE_KEY_BYTES))),
        board: createBullmqBoard({ redis: new Secret(redisUrl), name: net.network, log: net.log }),
        log: net.log,
      },
    )
    running.push(coordinator)
    return { ...(await coordinator.start()), coordinator }
  }
  const submit = (redundancy = 3): Promise<JobId> =>
    net.requester.client.submitJob({ model: MODEL, prompt: 'Say nothing.', maxTokens: 16, redundancy })
  const ended = async (id: JobId): Promise<JobView> => {
    await until(() => {
      const job = feed.mirror.jobs.get(id)
      return job !== undefined && ENDED.includes(job.state)
    })
    return feed.mirror.jobs.get(id)!
  }
  const get = async (url: string) => {
    const answer = await fetch(url)
    return { status: answer.status, text: await answer.text() }
  }

  test('drives a job from an AO message to its settlement, and shows it', async () => {
    const { url, addresses } = await start()
    for (const miner of net.miners) await net.startMiner(miner, addresses)
    await until(async () => (await get(`${url}/health`)).status === 200)
    const job = await ended(await submit())
    expect(job).toMatchObject({ state: 'settled', agreed: { seats: 4 } })
    expect(job.seats.every(seat => seat.state === 'revealed' && seat.paid !== undefined)).toBe(true)
    const view = await get(`${url}/jobs/${job.id}`)
    expect(JSON.parse(view.text)).toMatchObject({ job: { id: job.id } })
    expect((await get(`${url}/jobs/unknown`)).status).toBe(400)
    expect((await get(`${url}/jobs/${net.network}`)).status).toBe(404)
    const { text: metrics } = await get(`${url}/metrics`)
    expect(metrics).toMatch(/apus_coordinator_ticks_total\{reason="draw",outcome="sent"\} [1-9]/)
    expect(metrics).toMatch(/apus_coordinator_dispatches_total\{answer="(accepted|known)"\} [1-9]/)
    expect(metrics).toMatch(/apus_coordinator_commitments_total [1-9]/)
    expect(metrics).toMatch(/apus_coordinator_jobs\{state="settled"\} 1/)
    expect(await net.conserved()).toBe(true)
  })

  test('two beside each other, at one board, drive many jobs without harm', async () => {
    const [first, second] = [await start(), await start()]
    const ready = async ({ url }: Ready) => (await get(`${url}/health`)).text.includes('"caughtUp":true')
    await until(async () => (await ready(first)) && (await ready(second)))
    const ids = await Promise.all(Array.from({ length: 8 }, () => submit(2)))
    const jobs = await Promise.all(ids.map(ended))
    expect(jobs.map(job => job.state)).toEqual(ids.map(() => 'settled'))
    expect(await net.conserved()).toBe(true)
  })

  test('says so when its port is taken, and closes what it had opened', async () => {
    const { url } = await start()
    const { ao } = await net.party('coordinator')
    const second = createCoordinator(
      { network: net.network, token: net.token, peers: {}, httpPort: Number(new URL(url).port), pollMs: 200 },
      {
        ao,
        key: nodeKey(new Uint8Array(randomBytes(NODE_KEY_BYTES))),
        board: createMemoryBoard(net.log),
        log: net.log,
      },
    )
    await expect(second.start()).rejects.toMatchObject({ code: 'port-in-use' })
  })
})
