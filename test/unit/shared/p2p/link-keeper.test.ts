import { expect, it } from 'vitest'
import { LinkKeeper, type Links } from '../../../../shared/src/p2p/link-keeper.ts'
import { quietLog } from '../../../support/p2p.ts'

const setup = () => {
  const done: string[] = []
  const connected = new Set<string>()
  const hearing = new Set<string>()
  const strangers = new Set<string>()
  const scores = new Map<string, number>()
  let reachable = true
  let now = 0
  const links: Links = {
    connected: () => [...connected],
    talksGossip: async peer => !strangers.has(peer),
    hears: peer => hearing.has(peer),
    score: peer => scores.get(peer) ?? 0,
    hangUp: async peer => {
      done.push(`hang up ${peer}`)
      connected.delete(peer)
    },
    dial: async address => {
      done.push(`dial ${address}`)
      if (!reachable) throw new Error('unreachable')
    },
    dialAgain: async peer => void done.push(`dial again ${peer}`),
    setRefused: (peer, on) => void done.push(`${on ? 'refuse' : 'pardon'} ${peer}`),
  }
  const keeper = new LinkKeeper(links, quietLog, { now: () => now })
  const checkAt = async (ms: number) => {
    now = ms
    await keeper.check()
    return done.splice(0)
  }
  return { keeper, connected, hearing, strangers, scores, checkAt, unreachable: () => (reachable = false) }
}

it('hangs up on a peer that stopped hearing us after the grace, and dials it anew', async () => {
  const t = setup()
  t.connected.add('p')
  t.hearing.add('p')
  expect(await t.checkAt(0)).toEqual([])
  t.hearing.delete('p')
  expect(await t.checkAt(1_000)).toEqual([])
  expect(await t.checkAt(10_999)).toEqual([])
  expect(await t.checkAt(11_000)).toEqual(['hang up p', 'dial again p'])
})

it('leaves alone peers that never speak gossip, and does not chase those of another network', async () => {
  const t = setup()
  t.connected.add('requester').add('stranger')
  t.strangers.add('requester')
  expect(await t.checkAt(0)).toEqual([])
  expect(await t.checkAt(60_000)).toEqual(['hang up stranger'])
})

it('dials a lost kept peer with doubling pauses, and at once after it was back', async () => {
  const t = setup()
  t.unreachable()
  t.keeper.keep('p', 'addr')
  const dials: number[] = []
  for (let ms = 0; ms <= 200_000; ms += 500) if ((await t.checkAt(ms)).length > 0) dials.push(ms)
  expect(dials).toEqual([0, 1_000, 3_000, 7_000, 15_000, 31_000, 63_000, 123_000, 183_000])
  t.connected.add('p')
  t.hearing.add('p')
  await t.checkAt(200_500)
  t.connected.delete('p')
  expect(await t.checkAt(201_000)).toEqual(['dial addr'])
})

it('refuses a peer with a hopeless score for ten minutes, kept or not', async () => {
  const t = setup()
  t.keeper.keep('p', 'addr')
  t.connected.add('p')
  t.scores.set('p', -401)
  expect(await t.checkAt(0)).toEqual(['refuse p', 'hang up p'])
  expect(await t.checkAt(599_999)).toEqual([])
  t.scores.clear()
  expect(await t.checkAt(600_000)).toEqual(['pardon p', 'dial addr'])
})
