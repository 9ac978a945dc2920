import { digest } from '@apus/shared/hashing'
import type { Address, JobId, JobView, SeatView } from '@apus/shared/protocol'
import { describe, expect, test } from 'vitest'
import { type Answer, handOutTo, LEASE_MS } from '../../../../coordinator/src/jobs/hand-out.ts'
import { taskOf } from '../../../../coordinator/src/jobs/task.ts'
import { blankJob, minerOf } from '../../../support/contract-model.ts'

const network = digest('test/network') as Parameters<typeof taskOf>[0]
const seat: SeatView = { miner: minerOf(1), state: 'drawn', draw: 0, audit: false }
const job: JobView = { ...blankJob(digest('test/job') as JobId, 1, 0), state: 'seated', seats: [seat] }
const task = taskOf(network, job, seat)

const handOut = (options: {
  job?: JobView | undefined
  seen?: Address[]
  answer?: Answer
  time?: number
}) => {
  const sent: Address[] = []
  const result = handOutTo({
    job: () => ('job' in options ? options.job : job),
    commitmentsSeen: () => new Set(options.seen ?? []),
    send: async miner => {
      sent.push(miner)
      return options.answer ?? 'accepted'
    },
  })(task, options.time ?? 1)
  return result.then(outcome => ({ outcome, sent }))
}

describe('handing out a task', () => {
  test.each(['accepted', 'known', 'refused'] as const)(
    '%s: the miner is asked again after a lease',
    async answer => {
      expect(await handOut({ answer })).toEqual({
        outcome: { kind: 'later', afterMs: LEASE_MS },
        sent: [seat.miner],
      })
    },
  )

  test('a busy miner is asked again soon, an unreachable one later and later up to a lease', async () => {
    const outcome = async (answer: Answer, time: number) => (await handOut({ answer, time })).outcome
    expect(await outcome('busy', 5)).toEqual({ kind: 'later', afterMs: 2_000 })
    expect(await outcome('unreachable', 1)).toEqual({ kind: 'later', afterMs: 1_000 })
    expect(await outcome('unreachable', 3)).toEqual({ kind: 'later', afterMs: 4_000 })
    expect(await outcome('unreachable', 30)).toEqual({ kind: 'later', afterMs: LEASE_MS })
  })

  test.each([
    ['the seat committed on AO', { job: { ...job, seats: [{ ...seat, state: 'committed' as const }] } }],
    ['the seat was missed', { job: { ...job, seats: [{ ...seat, state: 'missed' as const }] } }],
    ['the seat is of another draw', { job: { ...job, seats: [{ ...seat, draw: 1 }] } }],
    ['the commitment was gossiped', { seen: [seat.miner] }],
  ])('no miner is asked when %s', async (_, options) => {
    expect(await handOut(options)).toEqual({ outcome: { kind: 'done' }, sent: [] })
  })

  test('a job that another coordinator knew first is looked at again', async () => {
    expect(await handOut({ job: undefined })).toEqual({
      outcome: { kind: 'later', afterMs: 1_000 },
      sent: [],
    })
  })
})

test('a task is one seat of one draw in one job of one network', () => {
  const other = digest('test/other-network') as Parameters<typeof taskOf>[0]
  const ids = [
    task,
    taskOf(other, job, seat),
    taskOf(network, { ...job, id: digest('test/other-job') as JobId }, seat),
    taskOf(network, job, { ...seat, draw: 1 }),
    taskOf(network, job, { ...seat, miner: minerOf(2) }),
  ].map(t => t.id)
  expect(new Set(ids).size).toBe(ids.length)
  expect(taskOf(network, { ...job, escrow: '9' }, { ...seat, state: 'committed' }).id).toBe(task.id)
})
