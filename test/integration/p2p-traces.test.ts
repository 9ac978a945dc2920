import { randomBytes } from 'node:crypto'
import { type RunLeaves, runRoots } from '@apus/shared/machine'
import { fetchTrace, serveTraces } from '@apus/shared/p2p'
import type { JobId } from '@apus/shared/protocol'
import { afterEach, expect, it } from 'vitest'
import { type Peer, randomId, startPeer } from '../support/p2p.ts'

const peers: Peer[] = []

async function pair(): Promise<[Peer, Peer]> {
  const [a, b] = await Promise.all([startPeer(new Map()), startPeer(new Map())])
  peers.push(a, b)
  await a.host.connect(b.host.addresses()[0] as string)
  return [a, b]
}

afterEach(async () => {
  await Promise.all(peers.splice(0).map(p => p.stop()))
})

const randomLeaves = (count: number, bytes: number) =>
  Array.from({ length: count }, () => new Uint8Array(randomBytes(bytes)))
const plain = (list: readonly Uint8Array[]) => list.map(leaf => Buffer.from(leaf).toString('hex'))

it('brings a long run’s leaves over in parts, checked against the roots that were revealed', async () => {
  const [a, b] = await pair()
  const job = randomId<JobId>()
  const leaves: RunLeaves = { checkpoints: randomLeaves(4097, 41), pageLeaves: randomLeaves(9000, 32) }
  await serveTraces(b.host, b.requests, async wanted => (wanted === job ? leaves : undefined))
  const fetched = await fetchTrace(a.host, a.requests, b.host.peer, { job, roots: runRoots(leaves) })
  expect(plain(fetched.checkpoints)).toEqual(plain(leaves.checkpoints))
  expect(plain(fetched.pageLeaves)).toEqual(plain(leaves.pageLeaves))
  await expect(
    fetchTrace(a.host, a.requests, b.host.peer, { job: randomId(), roots: runRoots(leaves) }),
  ).rejects.toMatchObject({ code: 'trace-unknown' })
})

it('refuses leaves that do not match the roots of the result', async () => {
  const [a, b] = await pair()
  const job = randomId<JobId>()
  const leaves: RunLeaves = { checkpoints: randomLeaves(3, 41), pageLeaves: randomLeaves(2, 32) }
  const others: RunLeaves = { ...leaves, pageLeaves: randomLeaves(2, 32) }
  await serveTraces(b.host, b.requests, async () => others)
  const wanted = { job, roots: runRoots(leaves) }
  await expect(fetchTrace(a.host, a.requests, b.host.peer, wanted)).rejects.toMatchObject({
    code: 'trace-forged',
  })
})
