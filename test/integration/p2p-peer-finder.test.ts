import { randomBytes } from 'node:crypto'
import { decodeCanonical, encodeCanonical } from '@apus/shared/hashing'
import { nodeKey } from '@apus/shared/p2p'
import type { ProcessId } from '@apus/shared/protocol'
import { generateKeyPairFromSeed } from '@libp2p/crypto/keys'
import { peerIdFromString } from '@libp2p/peer-id'
import { PeerRecord, RecordEnvelope } from '@libp2p/peer-record'
import { lpStream } from '@libp2p/utils'
import { type Multiaddr, multiaddr } from '@multiformats/multiaddr'
import { afterAll, expect, it } from 'vitest'
import { z } from 'zod'
import type { RequestProtocol } from '../../shared/src/p2p/requests.ts'
import { eventually, type Peer, randomId, startPeer } from '../support/p2p.ts'

const whoProtocol = {
  id: '/apus/test-who/1',
  request: z.object({}),
  response: z.object({ peer: z.string() }),
  maxRequestBytes: 1024,
  maxResponseBytes: 1024,
} as const satisfies RequestProtocol<z.ZodType, z.ZodType>

const peers: Peer[] = []

/** A peer that says its own id to whoever asks. */
async function start(
  bootstrap: readonly Peer[],
  options: Parameters<typeof startPeer>[1] = {},
): Promise<Peer> {
  const addresses = bootstrap.map(b => b.host.addresses()[0] as string)
  const peer = await startPeer(new Map(), { bootstrap: addresses, ...options })
  peers.push(peer)
  await peer.requests.serve(whoProtocol, () => ({ peer: peer.host.peer }))
  return peer
}

const stop = async (peer: Peer): Promise<void> => {
  peers.splice(peers.indexOf(peer), 1)
  await peer.stop()
}

const ask = async (from: Peer, peer: string): Promise<string> =>
  (await from.requests.request(peer, whoProtocol, {})).peer

const connected = (a: Peer, b: Peer): boolean => a.host.peers().includes(b.host.peer)

const unreachable = { code: 'peer-unreachable', retry: true, blame: 'nobody' }

afterAll(async () => {
  await Promise.all(peers.splice(0).map(p => p.stop()))
})

it.concurrent('peers of one bootstrap peer reach each other by id as soon as they have started, even late ones and those that only dial', async () => {
  const hub = await start([])
  const [a, b, c] = await Promise.all([start([hub]), start([hub]), start([hub])])
  expect(await Promise.all([ask(a, b.host.peer), ask(b, c.host.peer), ask(c, a.host.peer)])).toEqual([
    b.host.peer,
    c.host.peer,
    a.host.peer,
  ])
  const late = await start([hub])
  expect(await ask(a, late.host.peer)).toBe(late.host.peer)
  const dialler = await start([hub], { listen: [] })
  expect(await ask(dialler, b.host.peer)).toBe(b.host.peer)
  expect(connected(dialler, b)).toBe(true)
})

it.concurrent('a peer that is gone, never existed or has no address is unreachable; a peer that moved is found at its new address', async () => {
  const hub = await start([])
  const [a, b, dialler] = await Promise.all([start([hub]), start([hub]), start([hub], { listen: [] })])
  expect(await ask(a, b.host.peer)).toBe(b.host.peer)
  await stop(b)
  await eventually('gone', () => !connected(a, b))
  const nobody = nodeKey(randomBytes(32)).peer
  await Promise.all(
    [b.host.peer, nobody, dialler.host.peer].map(peer =>
      expect(ask(a, peer)).rejects.toMatchObject(unreachable),
    ),
  )
  const moved = await start([hub], { key: b.key })
  expect(moved.host.addresses()).not.toEqual(b.host.addresses())
  await eventually('back', () => connected(hub, moved))
  expect(await ask(a, moved.host.peer)).toBe(moved.host.peer)
})

it.concurrent('peers at two bootstrap peers that know each other find each other', async () => {
  const first = await start([])
  const second = await start([first])
  const [a, b] = await Promise.all([start([first]), start([second])])
  await eventually('the bootstrap peers are connected', () => connected(first, second))
  expect(await ask(a, b.host.peer)).toBe(b.host.peer)
  const c = await start([second])
  expect(await ask(c, a.host.peer)).toBe(a.host.peer)
})

it.concurrent('a peer behind a relay is found by id', async () => {
  const relay = await start([], { relay: 'server' })
  const relayAddress = relay.host.addresses()[0] as string
  const hidden = await start([relay], { relay: 'client', listen: [`${relayAddress}/p2p-circuit`] })
  await eventually('a place at the relay', () => hidden.host.addresses().length > 0)
  const caller = await start([relay], { relay: 'client' })
  await eventually(
    'reached',
    async () => (await ask(caller, hidden.host.peer).catch(() => undefined)) === hidden.host.peer,
  )
})

it.concurrent('a bootstrap peer does not name peers of another network', async () => {
  const hub = await start([])
  const network = randomId<ProcessId>()
  const [ours, one, other] = await Promise.all([
    start([hub]),
    start([hub], { network }),
    start([hub], { network }),
  ])
  await eventually('all connected', () => [ours, one, other].every(p => connected(p, hub)))
  await Promise.all([
    expect(ask(ours, one.host.peer)).rejects.toMatchObject(unreachable),
    expect(ask(one, ours.host.peer)).rejects.toMatchObject(unreachable),
    expect(ask(one, other.host.peer)).rejects.toMatchObject(unreachable),
  ])
})

it.concurrent('a forged address does not lead to a wrong peer', async () => {
  const hub = await start([])
  const [a, b, c] = await Promise.all([start([hub]), start([hub]), start([hub])])
  const addressOfC = multiaddr(c.host.addresses()[0]?.replace(/\/p2p\/.*/, ''))
  const nobody = nodeKey(randomBytes(32)).peer
  for (const peer of [b.host.peer, nobody])
    await a.host.libp2p.peerStore.merge(peerIdFromString(peer), { multiaddrs: [addressOfC] })
  await expect(a.host.libp2p.dial(addressOfC.encapsulate(`/p2p/${nobody}`))).rejects.toMatchObject({
    name: 'EncryptionFailedError',
    message: expect.stringContaining('does not match expected remote identity key'),
  })
  expect(await ask(a, b.host.peer)).toBe(b.host.peer)
  await expect(ask(a, nobody)).rejects.toMatchObject(unreachable)
  expect(connected(a, c)).toBe(false)
})

it.concurrent('neighbours that lie or are silent do not keep a peer from being found', async () => {
  const hub = await start([])
  const lost = nodeKey(randomBytes(32))
  const [a, b, liar, mute] = await Promise.all([start([hub]), start([hub]), start([hub]), start([])])
  const id = `/apus/1/${hub.host.network}/peers`
  const here = multiaddr(liar.host.addresses()[0]?.replace(/\/p2p\/.*/, ''))
  const sealed = async (seed: Uint8Array, peer: string, addresses: Multiaddr[], seqNumber: bigint) =>
    (
      await RecordEnvelope.seal(
        new PeerRecord({ peerId: peerIdFromString(peer), multiaddrs: addresses, seqNumber }),
        await generateKeyPairFromSeed('Ed25519', seed),
      )
    ).marshal()
  const liars = liar.key.seed.reveal()
  const old = await sealed(b.key.seed.reveal(), b.host.peer, [here], 1n)
  const damaged = old.map((byte, i) => (i === old.length - 1 ? byte ^ 1 : byte))
  const lies: Record<string, Uint8Array[]> = {
    [b.host.peer]: [old, damaged, randomBytes(100)],
    [lost.peer]: [
      await sealed(liars, lost.peer, [here], 9n),
      await sealed(liars, liar.host.peer, [here], 9n),
      new Uint8Array(9_000),
    ],
  }
  let told = 0
  await liar.host.libp2p.unhandle(id)
  await liar.host.libp2p.handle(id, async stream => {
    const lp = lpStream(stream)
    const { peer } = decodeCanonical((await lp.read()).subarray()) as { peer: string }
    const record = lies[peer]?.[told++ % 3]
    await lp.write(encodeCanonical({ record })).catch(() => {})
  })
  await mute.host.libp2p.unhandle(id)
  await mute.host.libp2p.handle(id, () => {})
  await a.host.connect(liar.host.addresses()[0] as string)
  for (let i = 0; i < 3; i++) {
    expect(await ask(a, b.host.peer)).toBe(b.host.peer)
    await a.host.libp2p.hangUp(b.host.libp2p.peerId)
    await a.host.libp2p.peerStore.delete(b.host.libp2p.peerId)
  }
  expect(told).toBeGreaterThanOrEqual(3)
  told = 0
  await expect(ask(a, lost.peer)).rejects.toMatchObject(unreachable)
  expect(told).toBeGreaterThanOrEqual(3)
  await a.host.connect(mute.host.addresses()[0] as string)
  expect(await ask(a, b.host.peer)).toBe(b.host.peer)
})

it.concurrent('an answer that is nonsense ends only the question that it answers', async () => {
  const hub = await start([])
  const [a, b] = await Promise.all([start([hub]), start([hub])])
  await eventually('connected', () => connected(a, hub) && connected(b, hub))
  const id = `/apus/1/${hub.host.network}/peers`
  for (const bytes of [
    randomBytes(40),
    new Uint8Array(4_096),
    encodeCanonical({ peer: 'nobody', hops: 0 }),
    encodeCanonical({ peer: b.host.peer, hops: 9 }),
  ]) {
    const stream = await a.host.libp2p.dialProtocol(hub.host.libp2p.peerId, id)
    await lpStream(stream).write(bytes)
    await eventually('dropped', () => stream.status !== 'open')
  }
  expect(await ask(a, b.host.peer)).toBe(b.host.peer)
})
