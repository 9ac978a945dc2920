import { randomBytes } from 'node:crypto'
import { encodeCanonical } from '@apus/shared/hashing'
import { nodeKey } from '@apus/shared/p2p'
import { type Address, type JobId, type ProcessId, signCommitment } from '@apus/shared/protocol'
import { afterEach, describe, expect, it } from 'vitest'
import { encodeCommitment, MAX_COMMITMENT_BYTES } from '../../shared/src/protocol/signed-commitment.ts'
import { eventually, type Peer, randomId, startPeer } from '../support/p2p.ts'

const peers: Peer[] = []
const registry = new Map<Address, string>()

async function start(count: number): Promise<Peer[]> {
  const started = await Promise.all(Array.from({ length: count }, () => startPeer(registry)))
  peers.push(...started)
  return started
}

/** Peer i dials i+1 … i+degree: a ring with chords, everything on 127.0.0.1. */
async function connectRing(ring: readonly Peer[], degree: number): Promise<void> {
  for (const [i, peer] of ring.entries())
    for (let d = 1; d <= degree; d++)
      await peer.host.connect((ring[(i + d) % ring.length] as Peer).host.addresses()[0] as string)
}

const pair = async (): Promise<[Peer, Peer]> => {
  const [a, b] = (await start(2)) as [Peer, Peer]
  await a.host.connect(b.host.addresses()[0] as string)
  await eventually('both subscribe', () => a.host.subscribers().length + b.host.subscribers().length === 2)
  return [a, b]
}

const sendRaw = (from: Peer, bytes: Uint8Array) =>
  from.host.libp2p.services.pubsub.publish(from.host.topic, bytes)

afterEach(async () => {
  await Promise.all(peers.splice(0).map(p => p.stop()))
})

describe('gossip of commitments', () => {
  it('forms a mesh of 30 peers on one address and loses nothing', async () => {
    const all = await start(30)
    await connectRing(all, 3)
    await eventually('everyone has a mesh', () => all.every(p => p.host.meshPeers().length >= 4))
    const job = randomId<JobId>()
    const recipients = await Promise.all(all.map(p => p.commitments.publish(p.commit(job))))
    expect(Math.min(...recipients)).toBeGreaterThanOrEqual(4)
    await eventually('all know all', () => all.every(p => p.commitments.ofJob(job).length === 30))
    expect(all.every(p => all.every(q => p === q || p.host.score(q.host.peer) >= 0))).toBe(true)
  })

  it('tells listeners of a signed commitment once, however often it is sent', async () => {
    const [a, b] = await pair()
    const heard: string[] = []
    b.commitments.onNew(s => heard.push(s.commitment))
    const signed = a.commit()
    await a.commitments.publish(signed)
    await a.commitments.publish(signed)
    const other = a.commit()
    await a.commitments.publish(other)
    await eventually('the last arrives', () => heard.includes(other.commitment))
    expect(heard).toEqual([signed.commitment, other.commitment])
    expect(b.host.score(a.host.peer)).toBeGreaterThanOrEqual(0)
  })

  const forgeries: readonly [string, (a: Peer) => Uint8Array][] = [
    ['a forged signature', a => encodeCommitment({ ...a.commit(), signature: randomBytes(64) })],
    [
      'another commitment under the same signature',
      a => encodeCommitment({ ...a.commit(), commitment: randomId() }),
    ],
    ['an oversized message', () => randomBytes(MAX_COMMITMENT_BYTES + 1)],
    ['bytes that are no CBOR', () => Uint8Array.of(0xff, 0, 1)],
    [
      'a non-canonical encoding',
      a => {
        const bytes = encodeCommitment(a.commit())
        // 8 entries in a two-byte map head (b8 08) instead of the shortest one (a8).
        return Uint8Array.from([0xb8, 0x08, ...bytes.slice(1)])
      },
    ],
    [
      'a map with one more field',
      a => encodeCanonical({ v: 1, d: 'apus/commitment', n: a.host.network, x: 1 }),
    ],
    [
      'a statement of another network',
      a => encodeCommitment(signCommitment({ ...a.commit(), network: randomId<ProcessId>() }, a.key.sign)),
    ],
    [
      'a peer that is not the one registered for the miner',
      a => {
        const stranger = nodeKey(randomBytes(32))
        return encodeCommitment(signCommitment({ ...a.commit(), peer: stranger.peer }, stranger.sign))
      },
    ],
  ]

  it.each(forgeries)('refuses %s and counts it against the sender', async (_name, forge) => {
    const [a, b] = await pair()
    for (let i = 0; i < 3; i++) await sendRaw(a, forge(a))
    const honest = a.commit()
    await a.commitments.publish(honest)
    await eventually('the honest one arrives', () => b.commitments.ofJob(honest.job).length === 1)
    expect(b.commitments.book.size).toBe(1)
    await eventually('the score falls', () => b.host.score(a.host.peer) < -50)
  })

  it('hangs up on a peer that keeps sending forgeries, and refuses it', async () => {
    const [a, b] = await pair()
    for (let i = 0; i < 12; i++)
      await sendRaw(a, encodeCommitment({ ...a.commit(), signature: randomBytes(64) }))
    await eventually('hung up', () => b.host.peers().length === 0)
    await a.host.connect(b.host.addresses()[0] as string).catch(() => {})
    await eventually('refused again', () => a.host.peers().length + b.host.peers().length === 0)
    expect(b.commitments.book.size).toBe(0)
  })

  it('neither keeps nor punishes commitments of an unknown miner, and accepts them once the miner is known', async () => {
    const [a, b] = await pair()
    registry.delete(a.miner)
    const signed = a.commit()
    await sendRaw(a, encodeCommitment(signed))
    const other = b.commit()
    await b.commitments.publish(other)
    await eventually('gossip flows', () => a.commitments.ofJob(other.job).length === 1)
    expect(b.commitments.ofJob(signed.job)).toEqual([])
    expect(b.host.score(a.host.peer)).toBeGreaterThanOrEqual(0)
    registry.set(a.miner, a.key.peer)
    b.commitments.recheck()
    expect(b.commitments.ofJob(signed.job)).toEqual([signed])
  })

  it('keeps at most four signed commitments of one seat', async () => {
    const [a, b] = await pair()
    const job = randomId<JobId>()
    for (let i = 0; i < 8; i++) await sendRaw(a, encodeCommitment(a.commit(job)))
    const last = a.commit()
    await a.commitments.publish(last)
    await eventually('the last arrives', () => b.commitments.ofJob(last.job).length === 1)
    expect(b.commitments.ofJob(job)).toHaveLength(4)
  })
})

describe('commitment sync', () => {
  it('back-fills on connecting what was published in a partition, on both sides', async () => {
    const all = await start(6)
    const left = all.slice(0, 3)
    const right = all.slice(3)
    for (const side of [left, right]) {
      await connectRing(side, 1)
      await eventually('meshed', () => side.every(p => p.host.subscribers().length === 2))
    }
    const jobs = all.map(() => randomId<JobId>())
    for (const [i, p] of all.entries()) await p.commitments.publish(p.commit(jobs[i]))
    await eventually(
      'each side knows its own',
      () => left.every(p => p.commitments.book.size === 3) && right.every(p => p.commitments.book.size === 3),
    )
    await (left[0] as Peer).host.connect((right[0] as Peer).host.addresses()[0] as string)
    await eventually('the bridge knows all', () =>
      [left[0], right[0]].every(p => p?.commitments.book.size === 6),
    )
    for (const side of [left, right])
      for (const p of side.slice(1)) await p.commitments.syncWith((side[0] as Peer).host.peer)
    expect(all.map(p => p.commitments.book.size)).toEqual([6, 6, 6, 6, 6, 6])
  })

  it('fetches only what is new, and one job on demand', async () => {
    const [a, b] = (await start(2)) as [Peer, Peer]
    const job = randomId<JobId>()
    for (let i = 0; i < 300; i++) await a.commitments.publish(a.commit())
    await a.commitments.publish(a.commit(job))
    await b.host.connect(a.host.addresses()[0] as string)
    await eventually('b has all', () => b.commitments.book.size === 301)
    expect(await b.commitments.syncWith(a.host.peer)).toBe(0)
    b.commitments.forget(job)
    expect(await b.commitments.syncWith(a.host.peer)).toBe(0)
    expect(await b.commitments.syncJob(job, [a.host.peer])).toBe(1)
  })

  it('refuses a peer whose book holds a forgery', async () => {
    const [a, b] = (await start(2)) as [Peer, Peer]
    a.commitments.book.add({ ...a.commit(), signature: randomBytes(64) })
    await b.host.connect(a.host.addresses()[0] as string)
    await eventually('cut off', () => b.host.peers().length === 0 && a.host.peers().length === 0)
    expect(b.commitments.book.size).toBe(0)
  })
})
