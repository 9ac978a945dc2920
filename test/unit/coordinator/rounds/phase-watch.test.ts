import { digest } from '@apus/shared/hashing'
import type { JobId, JobState } from '@apus/shared/protocol'
import { expect, test } from 'vitest'
import { PhaseWatch } from '../../../../coordinator/src/rounds/phase-watch.ts'
import { blankJob } from '../../../support/contract-model.ts'

const walk = (...steps: [JobState, number][]) => {
  const left: [string, number][] = []
  const watch = new PhaseWatch((phase, ms) => left.push([phase, ms]))
  const job = blankJob(digest('test/job') as JobId, 1, 0)
  for (const [state, at] of steps) watch.see({ ...job, state }, at)
  return left
}

test('each phase is measured when it is left', () => {
  expect(
    walk(
      ['submitted', 0],
      ['submitted', 5],
      ['seated', 10],
      ['auditing', 30],
      ['revealing', 31],
      ['agreed', 40],
      ['settled', 100],
    ),
  ).toEqual([
    ['draw', 10],
    ['commitments', 20],
    ['audit', 1],
    ['reveals', 9],
    ['window', 60],
  ])
})

test('a job that is first seen late or after its end gives no duration of a phase that was not seen', () => {
  expect(walk(['settled', 10])).toEqual([])
  expect(walk(['revealing', 10], ['held', 15], ['refunded', 25])).toEqual([
    ['reveals', 5],
    ['window', 10],
  ])
})
