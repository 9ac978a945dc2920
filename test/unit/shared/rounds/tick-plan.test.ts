import { digest } from '@apus/shared/hashing'
import type { JobId } from '@apus/shared/protocol'
import { describe, expect, test } from 'vitest'
import {
  MOVES_PER_TICK,
  pauseAfter,
  planTick,
  type Watched,
  type Wish,
  watch,
} from '../../../../shared/src/rounds/tick-plan.ts'
import { blankJob, minerOf } from '../../../support/contract-model.ts'

const NOW = 1_000_000
const fresh: Watched = { fingerprint: '', state: 'submitted', deadline: 0, since: NOW, asked: 0, askedAt: 0 }
const jobId = (n: number) => digest('test/job', String(n)) as JobId
const draw = (n: number, watched: Partial<Watched> = {}): Wish => ({
  job: jobId(n),
  move: { kind: 'tick', reason: 'draw', at: NOW, again: NOW + 60_000 },
  watched: { ...fresh, ...watched },
})
const deadline = (n: number, at: number, watched: Partial<Watched> = {}): Wish => ({
  job: jobId(n),
  move: { kind: 'tick', reason: 'deadline', at },
  watched: { ...fresh, ...watched },
})

describe('the one next tick', () => {
  test('is not needed when no job waits', () => {
    expect(planTick([], 0)).toBeUndefined()
  })

  test('serves jobs that arrive within a moment together', () => {
    const plan = planTick([draw(1), draw(2, { since: NOW + 15 })], 0)
    expect(plan?.at).toBe(NOW + 20)
    expect(planTick([draw(1), draw(2, { since: NOW - 5 })], 0)?.jobs).toEqual([jobId(2)])
    expect(planTick([draw(1), draw(2, { since: NOW - 5 })], NOW + 30)?.jobs.toSorted()).toEqual(
      [jobId(1), jobId(2)].toSorted(),
    )
  })

  test('is not sent again for a draw that a tick has asked for already', () => {
    expect(planTick([draw(1, { asked: 1, askedAt: NOW })], 0)).toMatchObject({ at: NOW + 60_000 })
  })

  test('counts in no more overdue jobs than one message moves, the oldest first', () => {
    const wishes = Array.from({ length: 40 }, (_, n) => deadline(n, NOW - n))
    const plan = planTick(wishes, NOW)
    expect(plan?.jobs).toHaveLength(MOVES_PER_TICK)
    expect(plan?.jobs[0]).toBe(jobId(39))
  })

  test('comes later and later for a job that ticks do not move', () => {
    const at = (asked: number) => planTick([deadline(1, NOW, { asked, askedAt: NOW })], 0)?.at
    expect([1, 2, 3, 20].map(at)).toEqual([NOW + 500, NOW + 1_000, NOW + 2_000, NOW + 60_000])
    expect(planTick([deadline(1, NOW, { asked: 20, askedAt: NOW }), deadline(2, NOW + 1)], 0)?.at).toBe(
      NOW + 1,
    )
  })

  test('waits out the pause after ticks that failed', () => {
    expect(planTick([deadline(1, NOW)], NOW + pauseAfter(3))?.at).toBe(NOW + 2_000)
  })
})

test('a job is remembered for as long as it looks the same', () => {
  const job = {
    ...blankJob(jobId(1), 3, 0),
    seats: [{ miner: minerOf(1), state: 'drawn' as const, draw: 0, audit: false }],
  }
  const first = watch(job, undefined, NOW)
  const asked = { ...first, asked: 2, askedAt: NOW }
  expect(watch({ ...job, escrow: '7' }, asked, NOW + 5)).toBe(asked)
  const committed = { ...job, seats: [{ ...job.seats[0]!, state: 'committed' as const }] }
  expect(watch(committed, asked, NOW + 5)).toMatchObject({ since: NOW + 5, asked: 0 })
})

test('a draw that found too few miners is not asked for again before its new deadline', () => {
  const job = { ...blankJob(jobId(1), 3, 0), deadline: 600_000 }
  const tried = watch({ ...job, deadline: 30_000 }, watch(job, undefined, NOW), NOW + 1)
  expect(tried.asked).toBe(1)
  expect(watch(job, tried, NOW + 30_000).asked).toBe(0)
})
