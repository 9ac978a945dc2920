import { randomBytes } from 'node:crypto'
import type { AoClient } from '@apus/shared/ao'
import { errorCode, sleep } from '@apus/shared/kit'
import type { NetworkFeed } from '@apus/shared/network'
import { NODE_KEY_BYTES, nodeKey, Requests, tasksProtocol } from '@apus/shared/p2p'
import { ENDED, type JobId, type JobView } from '@apus/shared/protocol'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { createMemoryBoard } from '../../coordinator/src/adapters/memory-board.ts'
import { createCoordinator, type JobBoard } from '../../coordinator/src/coordinator.ts'
import { createHost } from '../../shared/src/p2p/host.ts'
import { syncProtocol } from '../../shared/src/p2p/protocols.ts'
import { MODEL, type SmallNetwork, startSmallNetwork, until } from '../support/small-network.ts'

const WINDOWS = {
  commitWindow: 60_000,
  revealWindow: 60_000,
  disputeWindow: 1_000,
  drawTimeout: 60_000,
  drawRetry: 2_000,
}
const MINERS = 4
const DELAY_MS = 2_000
const key = () => nodeKey(new Uint8Array(randomBytes(NODE_KEY_BYTES)))

/** Says that every message was sent, and sends none. */
const dropping = (ao: AoClient): AoClient =>
  new Proxy(ao, {
    get: (target, name) => {
      if (name === 'send' || name === 'sendAndWait')
        return async () => ({ id: 'x'.repeat(43), slot: 0, messages: [], spawns: [], output: '' })
      const value: unknown = Reflect.get(target, name)
      return typeof value === 'function' ? value.bind(target) : value
    },
  })

/** A board that loses every second task, keeps the others back, and hands them out in the wrong order. */
function wayward(board: JobBoard): JobBoard {
  return {
    ...board,
    post: async tasks => {
      const kept = tasks.toReversed().filter((_, i) => i % 2 === 0)
      await sleep(DELAY_MS)
      await board.post(kept)
    },
  }
}

describe('with miners that keep the rules, a job is answered and paid', () => {
  let net: SmallNetwork
  let feed: NetworkFeed
  const addresses: string[] = []
  const stop: (() => Promise<unknown>)[] = []

  beforeAll(async () => {
    net = await startSmallNetwork({ name: 'sim-coordinator', miners: MINERS, parameters: WINDOWS })
    feed = await net.follow(100)
    for (const miner of net.miners) {
      const { host } = await net.startMiner(miner, addresses.slice(0, 1))
      addresses.push(...host.addresses())
    }
  })
  afterAll(async () => {
    for (const one of stop) await one()
    await net?.close()
  })

  const submit = (prompt: string): Promise<JobId> =>
    net.requester.client.submitJob({ model: MODEL, prompt, maxTokens: 16, redundancy: 3 })
  const ended = async (id: JobId): Promise<JobView> => {
    await until(() => ENDED.includes(feed.mirror.jobs.get(id)?.state ?? 'submitted'), 120_000)
    return feed.mirror.jobs.get(id)!
  }
  const wealth = () =>
    Promise.all(
      net.miners.map(async ({ client, address }) => {
        const stake = BigInt((await client.miner(address))?.stake ?? 0)
        return stake + (await client.account(address))
      }),
    )

  /** Every seat has its wage, nobody has lost anything, and the books are right. */
  async function expectPaid(jobs: readonly JobView[], before: readonly bigint[]): Promise<void> {
    for (const job of jobs) {
      expect(job).toMatchObject({ state: 'settled', escrow: '0' })
      expect(job.seats.every(seat => seat.state === 'revealed' && seat.paid !== undefined)).toBe(true)
    }
    const wages = net.miners.map(({ address }) =>
      jobs
        .flatMap(job => job.seats.filter(seat => seat.miner === address))
        .reduce((sum, seat) => sum + BigInt(seat.paid ?? 0), 0n),
    )
    expect(await wealth()).toEqual(before.map((units, i) => units + (wages[i] ?? 0n)))
    expect(await net.conserved()).toBe(true)
  }

  it('without a coordinator', async () => {
    const before = await wealth()
    const job = await ended(await submit('Say nothing.'))
    await expectPaid([job], before)
  })

  it('by coordinators that drop, delay, reorder, and answer with the data of other seats', async () => {
    const before = await wealth()
    const { ao } = await net.party('coordinator')
    const peers = { bootstrap: addresses }
    const config = { network: net.network, token: net.token, peers, httpPort: 0, pollMs: 200 }
    const board = wayward(createMemoryBoard(net.log))
    const coordinator = createCoordinator(config, { ao: dropping(ao), key: key(), board, log: net.log })
    stop.unshift(() => coordinator.stop())
    await coordinator.start()
    const liar = await join(peers)
    // Whoever asks it for commitments gets bytes that nobody signed.
    const garbler = await join(peers)
    await garbler.serve(syncProtocol, request =>
      request.ask === 'since'
        ? { book: 'lies', place: 1, more: true, ids: [new Uint8Array(16)] }
        : { statements: [new Uint8Array(randomBytes(200))] },
    )
    const ids = await Promise.all(['One.', 'Two.', 'Three.'].map(submit))
    await until(() => ids.every(id => (feed.mirror.jobs.get(id)?.seats.length ?? 0) >= 3))
    const jobs = ids.map(id => feed.mirror.jobs.get(id)!)
    const answers: string[] = []
    for (const { key: minerKey } of net.miners)
      for (const [i, job] of jobs.entries()) {
        // The seats of one job under the id of another, with a third one's prompt.
        const other = jobs[(i + 1) % jobs.length]!
        const task = { network: net.network, job: { ...other, id: job.id }, prompt: 'Another prompt.' }
        const answer = await liar
          .request(minerKey.peer, tasksProtocol, task, { timeoutMs: 5_000 })
          .then(({ status }) => status, errorCode)
        answers.push(String(answer))
      }
    // A hint may make a miner look; what it works on is the job that AO shows.
    for (const answer of answers) expect(['accepted', 'known', 'refused']).toContain(answer)
    await expectPaid(await Promise.all(ids.map(ended)), before)
  })

  /** One more peer, that no wallet is bound to. */
  async function join(peers: { readonly bootstrap: readonly string[] }): Promise<Requests> {
    const host = await createHost({ ...peers, network: net.network, key: key(), log: net.log })
    const requests = new Requests(host)
    stop.unshift(async () => {
      await requests.stop()
      await host.stop()
    })
    await until(() => host.peers().length >= MINERS)
    return requests
  }
})
