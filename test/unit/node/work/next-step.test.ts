import { type Address, type Digest, ENDED, JOB_STATES, type JobState } from '@apus/shared/protocol'
import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { isOlder } from '../../../../node/src/work/job-order.ts'
import {
  MAX_ATTEMPTS,
  nextStep,
  RESEND_AFTER_MS,
  type Recorded,
  seatOf,
} from '../../../../node/src/work/next-step.ts'
import { SEAT_STATES } from '../../../../shared/src/protocol/job.ts'
import { aJob, aSeat, idOf } from '../../../support/jobs.ts'

const me = idOf<Address>()
const mine = idOf<Digest>()
const facts = { me, served: true, canRecord: true, now: 1_000_000 }
const result: Recorded = { attempts: 0, commitment: mine }
const seated = aJob({ seats: [aSeat(me)] })
const committed = (state: JobState, commitment = mine) =>
  aJob({ state, seats: [aSeat(me, 'committed', { commitment })] })

describe('nextStep', () => {
  it('leaves alone jobs without a seat here', () => {
    expect(nextStep(aJob({ state: 'submitted' }), undefined, facts)).toEqual({ do: 'wait' })
    expect(nextStep(aJob({ seats: [aSeat(idOf())] }), undefined, facts)).toEqual({ do: 'drop' })
  })

  it('computes, commits, waits, reveals, in that order', () => {
    expect(nextStep(seated, undefined, facts)).toEqual({ do: 'compute' })
    expect(nextStep(seated, result, facts)).toEqual({ do: 'commit' })
    expect(nextStep(seated, { ...result, committedAt: facts.now }, facts)).toEqual({ do: 'wait' })
    expect(nextStep(committed('seated'), result, facts)).toEqual({ do: 'wait' })
    expect(nextStep(committed('auditing'), result, facts)).toEqual({ do: 'wait' })
    expect(nextStep(committed('revealing'), result, facts)).toEqual({ do: 'reveal' })
    expect(nextStep(committed('revealing'), { ...result, revealedAt: facts.now }, facts)).toEqual({
      do: 'wait',
    })
    const revealed = aJob({ state: 'agreed', seats: [aSeat(me, 'revealed')] })
    expect(nextStep(revealed, result, facts)).toEqual({ do: 'wait' })
    expect(nextStep({ ...revealed, state: 'settled' }, result, facts)).toEqual({ do: 'drop' })
  })

  it('sends again what AO took but never showed', () => {
    const at = facts.now - RESEND_AFTER_MS
    expect(nextStep(seated, { ...result, committedAt: at }, facts)).toEqual({ do: 'commit' })
    expect(nextStep(committed('revealing'), { ...result, revealedAt: at }, facts)).toEqual({ do: 'reveal' })
  })

  it('reveals late, even after the job has ended, when stake is locked for it', () => {
    const late = (state: JobState, verifiable = true, resultRoot?: Digest) =>
      aJob({
        state,
        verifiable,
        seats: [aSeat(me, 'late', { commitment: mine, ...(resultRoot && { resultRoot }) })],
      })
    for (const state of ['agreed', 'held', 'settled', 'refunded', 'expired'] as const)
      expect(nextStep(late(state), result, facts)).toEqual({ do: 'reveal' })
    expect(nextStep(late('settled', false), result, facts)).toEqual({ do: 'drop' })
    expect(nextStep(late('settled', true, idOf<Digest>()), result, facts)).toEqual({ do: 'drop' })
    expect(nextStep(late('settled'), { ...result, givenUp: 'reveal-too-late' }, facts)).toEqual({
      do: 'drop',
    })
  })

  it('abstains without the model, without a journal, after runs that keep failing, and when it gave up', () => {
    const abstain = (recorded: Recorded | undefined, changed = {}) =>
      nextStep(seated, recorded, { ...facts, ...changed })
    expect(abstain(undefined, { served: false })).toEqual({ do: 'abstain', code: 'model-not-served' })
    expect(abstain(undefined, { canRecord: false })).toEqual({ do: 'abstain', code: 'journal-full' })
    expect(abstain({ attempts: MAX_ATTEMPTS })).toEqual({ do: 'abstain', code: 'run-keeps-failing' })
    expect(abstain({ attempts: 0, givenUp: 'prompt-mismatch' })).toEqual({
      do: 'abstain',
      code: 'prompt-mismatch',
    })
    expect(abstain(result, { canRecord: false })).toEqual({ do: 'commit' })
  })

  it('recomputes after the journal was lost, and takes back a commitment that it cannot open while it may', () => {
    expect(nextStep(committed('seated'), undefined, facts)).toEqual({ do: 'compute' })
    const other = committed('seated', idOf<Digest>())
    expect(nextStep(other, result, facts)).toEqual({ do: 'retract' })
    const abstain = { do: 'abstain', code: 'commitment-differs' }
    expect(nextStep({ ...other, state: 'auditing' }, result, facts)).toEqual(abstain)
    expect(nextStep({ ...other, state: 'revealing' }, result, facts)).toEqual(abstain)
  })

  const anyJob = fc
    .record({
      state: fc.constantFrom(...JOB_STATES),
      seat: fc.constantFrom(...SEAT_STATES),
      verifiable: fc.boolean(),
      draw: fc.nat(2),
    })
    .map(({ state, seat, verifiable, draw }) =>
      aJob({ state, verifiable, seats: [aSeat(me, seat, { draw })] }),
    )

  it('whatever AO shows: commits only from a drawn seat, reveals only what was committed, never both undone', () => {
    fc.assert(
      fc.property(anyJob, fc.boolean(), fc.boolean(), (job, recorded, served) => {
        const step = nextStep(job, recorded ? result : undefined, { ...facts, served }).do
        const seat = seatOf(job, me)?.state
        if (step === 'commit') expect([seat, recorded]).toEqual(['drawn', true])
        if (step === 'compute') expect(recorded).toBe(false)
        if (step === 'reveal')
          expect([recorded, seat === 'committed' || seat === 'late']).toEqual([true, true])
        if (ENDED.includes(job.state) && seat !== 'late') expect(step).toBe('drop')
      }),
    )
  })

  it('tells earlier from later views of one job', () => {
    const before = aJob({ seats: [aSeat(me), aSeat(idOf())] })
    const later = { ...before, seats: [aSeat(me, 'committed'), before.seats[1] as never] }
    expect(isOlder(before, later)).toBe(true)
    expect(isOlder(later, before)).toBe(false)
    expect(isOlder(later, { ...before, state: 'revealing' })).toBe(true)
    expect(isOlder(before, before)).toBe(false)
  })
})
