import { digest } from '@apus/shared/hashing'
import type { Address, JobId, JobView, SeatView } from '@apus/shared/protocol'
import type { ClockSeen } from '@apus/shared/rounds'
import { describe, expect, test } from 'vitest'
import { wallTimeOf } from '../../../../shared/src/rounds/clock-seen.ts'
import { nextMove } from '../../../../shared/src/rounds/next-move.ts'
import { blankJob, minerOf } from '../../../support/contract-model.ts'

const NOW = 1_000_000_000
const clock: ClockSeen = { network: 500_000, timestamp: NOW - 1_000, seenAt: NOW - 1_000 }
const id = digest('test/job') as JobId
const seat = (n: number, state: SeatView['state'], audit = false): SeatView => ({
  miner: minerOf(n),
  state,
  draw: 0,
  audit,
})
const job = (
  state: JobView['state'],
  seats: SeatView[] = [],
  deadline = clock.network + 60_000,
): JobView => ({
  ...blankJob(id, 3, clock.network),
  state,
  seats,
  deadline,
})
const move = (view: JobView, seen: Address[] = []) => nextMove(view, clock, new Set(seen), NOW)
const DEADLINE = NOW - 1_000 + 60_000

describe('the next move of a job', () => {
  test('a submitted job wants the next message, and asks again at its deadline', () => {
    expect(move(job('submitted'))).toEqual({ kind: 'tick', reason: 'draw', at: NOW, again: DEADLINE })
  })

  test('drawn seats are dispatched, those that committed on AO or by gossip are not', () => {
    const seats = [seat(0, 'committed'), seat(1, 'drawn'), seat(2, 'drawn')]
    expect(move(job('seated', seats), [minerOf(2)])).toEqual({
      kind: 'dispatch',
      seats: [seats[1]],
      at: DEADLINE,
    })
  })

  test('when all commitments are gossiped, the job waits for them on AO until its deadline', () => {
    const seats = [seat(0, 'drawn'), seat(1, 'committed')]
    expect(move(job('seated', seats), [minerOf(0)])).toEqual({
      kind: 'tick',
      reason: 'deadline',
      at: DEADLINE,
    })
  })

  test('missing seats wait for the draw that the next message brings', () => {
    const seats = [seat(0, 'committed'), seat(1, 'missed')]
    expect(move(job('seated', seats))).toMatchObject({ kind: 'tick', reason: 'draw', at: NOW })
  })

  test('when all seats committed, the audit waits for the next message; its seat is then dispatched', () => {
    const seats = [seat(0, 'committed'), seat(1, 'committed')]
    expect(move(job('auditing', seats))).toMatchObject({ kind: 'tick', reason: 'audit', at: NOW })
    expect(move(job('auditing', [...seats, seat(2, 'drawn', true)]))).toMatchObject({
      kind: 'dispatch',
      seats: [{ miner: minerOf(2) }],
    })
  })

  test.each(['revealing', 'agreed', 'held'] as const)('%s waits for its deadline', state => {
    expect(move(job(state, [seat(0, 'committed')]))).toMatchObject({ kind: 'tick', at: DEADLINE })
  })

  test.each(['settled', 'refunded', 'expired', 'cancelled', 'void'] as const)('%s is the end', state => {
    expect(move(job(state))).toEqual({ kind: 'ended' })
  })
})

describe('network time as wall time', () => {
  test('a deadline that passed is due at once', () => {
    expect(wallTimeOf(clock.network - 1, clock)).toBeLessThanOrEqual(NOW)
  })

  test('one message moves the clock two minutes at most, so that far deadlines take several', () => {
    expect(wallTimeOf(clock.network + 3_600_000, clock)).toBe(clock.seenAt + 120_000)
  })

  test('a scheduler whose clock is late is not asked too early', () => {
    const behind = { ...clock, timestamp: clock.timestamp - 60_000 }
    expect(wallTimeOf(behind.network + 60_000, { ...behind, seenAt: behind.timestamp + 4_000 })).toBe(
      behind.timestamp + 64_000,
    )
  })

  test('after a restart a clock published long ago counts from when it was published', () => {
    const old = { network: 500_000, timestamp: NOW - 3_600_000, seenAt: NOW }
    expect(wallTimeOf(old.network + 60_000, old)).toBeLessThan(NOW)
  })
})
