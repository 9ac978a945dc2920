import {
  type Address,
  commitmentOf,
  type Digest,
  type DisputeView,
  type JobView,
  type ProcessId,
  type SignedCommitment,
} from '@apus/shared/protocol'
import { expect, it } from 'vitest'
import { duties } from '../../../../node/src/disputes/next-duty.ts'

const me = 'me' as Address
const them = 'them' as Address
const result = {} as NonNullable<JobView['seats'][number]['statement']>
const seat = (miner: Address, resultRoot: string, more = {}) =>
  ({ miner, state: 'revealed', resultRoot, statement: result, ...more }) as JobView['seats'][number]
const job = (seats: JobView['seats'], more = {}) =>
  ({ id: 'job', state: 'held', verifiable: true, seats, ...more }) as JobView
const dispute = (more: Partial<DisputeView>) =>
  ({ id: 'd', job: 'job', accused: them, challenger: me, state: 'running', ...more }) as DisputeView
const network = 'network' as ProcessId
const dutiesOf = (
  jobs: JobView[],
  disputes: DisputeView[],
  canReplay = true,
  signed: SignedCommitment[] = [],
  watches = false,
) =>
  duties({ network, me, jobs, disputes, canReplay: () => canReplay, watches, signed: () => signed }).map(
    d => d.kind,
  )

it('answers before it moves, and moves before it opens', () => {
  const open = job([seat(me, 'a'), seat(them, 'b'), seat('third' as Address, 'c')])
  const mine = dispute({ turn: 'challenger' })
  const against = dispute({ id: 'e', accused: me, challenger: them, turn: 'accused' })
  expect(dutiesOf([open], [mine, against])).toEqual(['answer', 'move', 'open'])
})

it('opens one dispute for each seat that revealed another result, while that is possible', () => {
  const differing = [seat(me, 'a'), seat(them, 'b')]
  expect(dutiesOf([job(differing)], [])).toEqual(['open'])
  expect(dutiesOf([job([seat(me, 'a'), seat(them, 'a')])], [])).toEqual([])
  expect(dutiesOf([job(differing)], [dispute({ state: 'refuted' })])).toEqual([])
  expect(dutiesOf([job(differing, { state: 'settled' })], [])).toEqual([])
  expect(dutiesOf([job(differing, { verifiable: false })], [])).toEqual([])
  expect(dutiesOf([job(differing)], [], false)).toEqual([])
  expect(dutiesOf([job([seat(me, 'a'), seat(them, 'b', { slashed: '1' })])], [])).toEqual([])
  expect(dutiesOf([job([seat(them, 'b'), seat('third' as Address, 'c')])], [])).toEqual([])
})

it('runs the jobs of others again when it watches, each seat once', () => {
  const theirs = job([seat(them, 'a'), seat('third' as Address, 'a')])
  expect(dutiesOf([theirs], [])).toEqual([])
  expect(dutiesOf([theirs], [], true, [], true)).toEqual(['open', 'open'])
  expect(dutiesOf([theirs], [dispute({ state: 'refuted' })], true, [], true)).toEqual(['open'])
  expect(dutiesOf([theirs], [], false, [], true)).toEqual([])
  expect(dutiesOf([job([seat(me, 'a'), seat(them, 'a')])], [], true, [], true)).toEqual([])
})

it('makes no move in disputes in which others must move', () => {
  const open = job([seat(me, 'a'), seat(them, 'b')])
  expect(dutiesOf([open], [dispute({ turn: 'accused' })])).toEqual([])
  expect(dutiesOf([open], [dispute({ state: 'waiting' })])).toEqual([])
})

it('shows a commitment that a seat signed to another result than it revealed', () => {
  const salt = 'salt' as Digest
  const commitment = commitmentOf(network, 'job' as JobView['id'], them, salt, 'a')
  const signed = { network, job: 'job', miner: them, commitment, peer: 'p', signature: new Uint8Array(64) }
  const open = job([seat(me, 'a'), seat(them, 'b', { salt, commitment: 'other' })])
  const said = [signed as SignedCommitment]
  expect(dutiesOf([open], [], false, said)).toEqual(['show'])
  expect(dutiesOf([open], [], true, said)).toEqual(['show', 'open'])
  const convicted = job([seat(me, 'a'), seat(them, 'b', { salt, commitment: 'other', slashed: '1' })])
  expect(dutiesOf([convicted], [], true, said)).toEqual([])
  expect(dutiesOf([job([seat(me, 'a'), seat(them, 'a', { salt, commitment })])], [], true, said)).toEqual([])
})
