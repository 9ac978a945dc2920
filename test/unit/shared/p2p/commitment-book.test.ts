import { randomBytes } from 'node:crypto'
import { nodeKey, Registrations } from '@apus/shared/p2p'
import {
  type Address,
  type Digest,
  type JobId,
  type ProcessId,
  type SignedCommitment,
  signBinding,
} from '@apus/shared/protocol'
import { expect, it } from 'vitest'
import { CommitmentBook } from '../../../../shared/src/p2p/commitment-book.ts'
import { randomId } from '../../../support/p2p.ts'

const network = randomId<ProcessId>()
const say = (parts: Partial<SignedCommitment> = {}): SignedCommitment => ({
  network,
  job: randomId<JobId>(),
  miner: randomId<Address>(),
  commitment: randomId<Digest>(),
  peer: '12D3KooWGz',
  signature: randomBytes(64),
  ...parts,
})

it('keeps four statements of a seat, 512 of a miner, and forgets jobs', () => {
  const book = new CommitmentBook()
  const seat = { job: randomId<JobId>(), miner: randomId<Address>() }
  const first = say(seat)
  expect([book.add(first), book.add(first)]).toEqual(['added', 'known'])
  expect([1, 2, 3, 4].map(() => book.add(say(seat)))).toEqual(['added', 'added', 'added', 'full'])
  const other = say({ job: seat.job })
  book.add(other)
  const loud = randomId<Address>()
  for (let i = 0; i < 600; i++) book.add(say({ miner: loud }))
  expect(book.size).toBe(5 + 512)
  expect(book.ofJob(seat.job)).toHaveLength(5)
  book.forget(seat.job)
  expect([book.size, book.ofJob(seat.job)]).toEqual([512, []])
})

it('lists what came after a place, in parts, each id once', () => {
  const book = new CommitmentBook()
  for (let i = 0; i < 25; i++) book.add(say())
  const ids = new Set<string>()
  let place = 0
  for (let more = true; more; ) {
    const part = book.since(place, 10)
    for (const id of part.ids) ids.add(Buffer.from(id).toString('hex'))
    place = part.place
    more = part.more
  }
  expect(ids.size).toBe(25)
  expect(book.since(place, 10)).toEqual({ ids: [], place, more: false })
})

it('believes a registration only if its peer agreed to it, and until it expires', () => {
  let now = 1_000
  const registrations = new Registrations(network, { now: () => now })
  const [mine, others] = [nodeKey(randomBytes(32)), nodeKey(randomBytes(32))]
  const wallet = randomId<Address>()
  const binding = { network, wallet, peer: mine.peer, expires: 2_000 }
  const miner = {
    address: wallet,
    peer: mine.peer,
    expires: 2_000,
    nodeSignature: signBinding(binding, mine.sign),
  }
  registrations.update(miner)
  expect(registrations.peerOf(wallet)).toBe(mine.peer)
  now = 2_000
  expect(registrations.peerOf(wallet)).toBeUndefined()
  now = 1_000
  registrations.update({ ...miner, peer: others.peer })
  expect(registrations.peerOf(wallet)).toBeUndefined()
  registrations.update(miner)
  registrations.update({ address: wallet })
  expect(registrations.peerOf(wallet)).toBeUndefined()
})
