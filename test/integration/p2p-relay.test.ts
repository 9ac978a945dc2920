import { afterEach, expect, it } from 'vitest'
import { z } from 'zod'
import type { RequestProtocol } from '../../shared/src/p2p/requests.ts'
import { eventually, type Peer, startPeer } from '../support/p2p.ts'

const peers: Peer[] = []
const start = async (...args: Parameters<typeof startPeer>): Promise<Peer> => {
  const peer = await startPeer(...args)
  peers.push(peer)
  return peer
}

afterEach(async () => {
  for (const peer of peers.splice(0).toReversed()) await peer.stop()
})

const bulk = {
  id: '/apus/test-bulk/1',
  request: z.object({}),
  response: z.object({ text: z.string() }),
  maxRequestBytes: 1024,
  maxResponseBytes: 1024 * 1024,
} as const satisfies RequestProtocol<z.ZodType, z.ZodType>

it('a miner that can only dial out is reached through a relay, with more than a relay’s usual allowance', async () => {
  const registry = new Map()
  const relay = await start(registry, { relay: 'server', checkReachability: true })
  const relayAddress = relay.host.addresses()[0] as string
  const hidden = await start(registry, {
    relay: 'client',
    listen: [`${relayAddress}/p2p-circuit`],
    bootstrap: [relayAddress],
  })
  await hidden.requests.serve(bulk, () => ({ text: 'x'.repeat(500_000) }))
  await eventually('a place at the relay', () =>
    hidden.host.addresses().some(a => a.includes('/p2p-circuit')),
  )
  const caller = await start(registry, { relay: 'client' })
  await caller.host.connect(hidden.host.addresses().find(a => a.includes('/p2p-circuit')) as string)
  const answer = await caller.requests.request(hidden.host.peer, bulk, {})
  expect(answer.text).toHaveLength(500_000)
})

it('a lost bootstrap peer is dialled until it is back', async () => {
  const registry = new Map()
  const hub = await startPeer(registry)
  const address = hub.host.addresses()[0] as string
  const spoke = await start(registry, { bootstrap: [address] })
  await eventually('connected', () => spoke.host.subscribers().includes(hub.host.peer))
  await hub.stop()
  await eventually('lost', () => spoke.host.peers().length === 0)
  const again = await start(registry, { key: hub.key, listen: [address.replace(/\/p2p\/.*/, '')] })
  await eventually('connected again', () => again.host.subscribers().includes(spoke.host.peer))
})

it('a miner that sends commitments of unknown seats is listened to for a while and then no longer', async () => {
  const registry = new Map()
  const [loud, listener] = [await start(registry), await start(registry, { seated: () => false })]
  await loud.host.connect(listener.host.addresses()[0] as string)
  await eventually('subscribed', () => loud.host.subscribers().length === 1)
  for (let i = 0; i < 100; i++) await loud.commitments.publish(loud.commit())
  await eventually('heard a while', () => listener.commitments.book.size >= 32)
  await listener.commitments.syncWith(loud.host.peer)
  expect(listener.commitments.book.size).toBeLessThan(45)
})
