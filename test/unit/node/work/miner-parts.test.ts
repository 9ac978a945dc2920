import { mkdtemp, rm, utimes } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import type { Address, Digest, JobId, MinerView } from '@apus/shared/protocol'
import { expect, it } from 'vitest'
import { openAnswerStore } from '../../../../node/src/work/answer-store.ts'
import { registrationNeeds } from '../../../../node/src/work/registration.ts'
import { RunQueue } from '../../../../node/src/work/run-queue.ts'
import { minerView } from '../../../../shared/src/protocol/views.ts'
import { idOf } from '../../../support/jobs.ts'

const DAY = 24 * 3_600_000

it('a registration is renewed in its last month, models are told when they differ, a pause is ended', () => {
  const model = idOf()
  const view = (parts: Partial<MinerView> = {}): MinerView =>
    minerView.parse({
      address: idOf<Address>(),
      peer: 'p',
      expires: 100 * DAY,
      active: true,
      models: [model],
      stake: '1',
      locked: '0',
      unstaking: '0',
      standing: 0,
      missed: 0,
      ...parts,
    })
  const miner = { peer: 'p', models: [model] }
  const nothing = { renew: false, serve: false, resume: false }
  expect(registrationNeeds(view(), miner, 0)).toEqual(nothing)
  expect(registrationNeeds(view(), miner, 71 * DAY)).toEqual({ ...nothing, renew: true })
  expect(registrationNeeds(view({ models: [] }), miner, 0)).toEqual({ ...nothing, serve: true })
  expect(registrationNeeds(view(), { peer: 'p', models: [] }, 0)).toEqual({ ...nothing, serve: true })
  expect(registrationNeeds(view({ active: false }), miner, 0)).toEqual({ ...nothing, resume: true })
  const refused = (code: string) => expect.objectContaining({ code })
  expect(() => registrationNeeds(undefined, miner, 0)).toThrow(refused('not-registered'))
  expect(() => registrationNeeds(view({ peer: 'q' }), miner, 0)).toThrow(refused('registered-elsewhere'))
})

it('runs of one model wait for each other, the earliest deadline first; other models do not wait', async () => {
  const queue = new RunQueue(1)
  const log: string[] = []
  const gates = new Map<string, () => void>()
  const ticket = (key: string, lane: string, order: number) => ({
    key,
    lane,
    order,
    run: async (signal: AbortSignal) => {
      log.push(`begin ${key}`)
      await new Promise<void>((resolve, reject) => {
        gates.set(key, resolve)
        signal.addEventListener('abort', () => reject(signal.reason))
      }).finally(() => log.push(`end ${key}`))
    },
  })
  const turn = () => new Promise(setImmediate)
  queue.add(ticket('a', 'm', 5))
  queue.add(ticket('late', 'm', 9))
  queue.add(ticket('soon', 'm', 1))
  queue.add(ticket('b', 'n', 7))
  queue.add(ticket('b', 'n', 7))
  await turn()
  expect([queue.running, queue.waiting, log]).toEqual([2, 2, ['begin a', 'begin b']])
  gates.get('a')?.()
  await turn()
  expect(log.slice(2)).toEqual(['end a', 'begin soon'])
  queue.cancel('late', new Error('gone'))
  queue.cancel('soon', new Error('gone'))
  await turn()
  expect([queue.running, queue.has('late')]).toEqual([1, false])
  await queue.cancelAll(new Error('stop'))
  expect([queue.running, log.at(-1)]).toEqual([0, 'end b'])
})

it('large answers are kept for a week and given only for their root', async () => {
  const folder = await mkdtemp(join(tmpdir(), 'apus-answers-'))
  try {
    const shelf = await openAnswerStore(join(folder, 'answers'))
    const [job, root] = [idOf<JobId>(), idOf<Digest>()]
    await shelf.keep(job, root, ['aGk=', ''])
    expect(await shelf.find(job, root)).toEqual([Buffer.from('hi'), Buffer.alloc(0)])
    expect(await shelf.find(job, idOf<Digest>())).toBeUndefined()
    expect(await shelf.find(idOf<JobId>(), root)).toBeUndefined()
    await shelf.tidy(Date.now())
    expect(await shelf.find(job, root)).toBeDefined()
    const old = new Date(Date.now() - 8 * DAY)
    await utimes(join(folder, 'answers', `${job}.json`), old, old)
    await shelf.tidy(Date.now())
    expect(await shelf.find(job, root)).toBeUndefined()
  } finally {
    await rm(folder, { recursive: true })
  }
})
