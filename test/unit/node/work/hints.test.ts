import type { Address, JobId, JobView } from '@apus/shared/protocol'
import { expect, it } from 'vitest'
import { Hints } from '../../../../node/src/work/hints.ts'
import { aJob, aSeat, idOf } from '../../../support/jobs.ts'
import { aModel, steadyPiece } from '../../../support/one-seat.ts'

const me = idOf<Address>()

function setup(waiting = 0) {
  const read: JobId[] = []
  const prompts: (string | undefined)[] = []
  const gate = Promise.withResolvers<void>()
  const work = {
    waiting,
    has: (job: JobId) => known.has(job),
    refresh: async (job: JobId, prompt?: string) => {
      read.push(job)
      prompts.push(prompt)
      await gate.promise
      known.add(job)
      return undefined
    },
  }
  const known = new Set<JobId>()
  const job = aJob({ seats: [aSeat(me)] })
  const models = new Map([[job.model, { class: job.class, model: aModel(job, steadyPiece) }]])
  return { hints: new Hints(work, me, models), job, read, prompts, known, release: gate.resolve }
}

it('accepts a hint once and believes only what AO says of the job', async () => {
  const { hints, job, read, prompts, release } = setup()
  expect(hints.take(job, 'prompt')).toEqual({ status: 'accepted' })
  expect(hints.take(job, 'prompt')).toEqual({ status: 'known' })
  release()
  await new Promise(setImmediate)
  expect([read, prompts]).toEqual([[job.id], ['prompt']])
  expect(hints.take(job, 'prompt')).toEqual({ status: 'known' })
})

it('refuses what is not for this miner, without asking AO', () => {
  const { hints, job, read } = setup()
  expect(hints.take({ ...job, seats: [aSeat(idOf())] }, undefined)).toEqual({
    status: 'refused',
    code: 'no-seat',
  })
  const foreign: JobView[] = [
    { ...job, model: idOf() },
    { ...job, class: 'another-class' },
  ]
  for (const other of foreign)
    expect(hints.take(other, undefined)).toEqual({ status: 'refused', code: 'model-not-served' })
  expect(read).toEqual([])
})

it('is busy when runs queue up or too many hints are open', () => {
  expect(setup(16).hints.take(setup().job, undefined)).toMatchObject({ status: 'refused' })
  const full = setup(16)
  expect(full.hints.take(full.job, undefined)).toEqual({ status: 'busy' })
  const { hints, job } = setup()
  const answers = Array.from(
    { length: 40 },
    () => hints.take({ ...job, id: idOf<JobId>() }, undefined).status,
  )
  expect(answers.filter(a => a === 'accepted')).toHaveLength(32)
  expect(answers.slice(32).every(a => a === 'busy')).toBe(true)
})
