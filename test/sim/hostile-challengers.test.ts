import type { DisputeMessage } from '@apus/shared/dispute'
import type { DisputeView } from '@apus/shared/protocol'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { proven } from '../../shared/src/dispute/message.ts'
import { stepInputs } from '../../shared/src/dispute/step-inputs.ts'
import { planStage, stageCount } from '../../shared/src/machine/plan.ts'
import { DisputedStage } from '../../shared/src/replay/disputed-stage.ts'
import { APUS, addressOf } from '../support/contracts.ts'
import { BASE_PRICE, TOKEN_PRICE } from '../support/contracts-cast.ts'
import { inApus, Purses, printTable } from '../support/dispute/docket.ts'
import { count, drive, noTraffic, type Traffic } from '../support/dispute/drive.ts'
import { withWrongNumber } from '../support/dispute/lies.ts'
import { type Side, Trial } from '../support/dispute/trial.ts'

const MINUTE = 60_000
const PROMPT = 5
const TOKENS = 4
const DISPUTE_BOND = (BASE_PRICE + TOKEN_PRICE * BigInt(TOKENS)) * 3n
const SAMPLER = { temperature: 90_000, topK: 40, topP: 60_000, repeatPenalty: 90_000, penaltyWindow: 4 }

/** What a hostile challenger sees of an honest seat: everything. */
interface Scene {
  readonly trial: Trial
  /** Another job of the same seats. */
  readonly other: Trial
  readonly accused: Side
  readonly me: string
  readonly traffic: Traffic
}

interface Challenger {
  readonly name: string
  /** Returns how many bonds it lost. */
  readonly plays: (scene: Scene) => Promise<number>
}

type Move = (view: DisputeView) => DisputeMessage | undefined

async function open(
  { trial, accused, me, traffic }: Scene,
  tags: Readonly<Record<string, string>>,
): Promise<string> {
  const { data } = await trial.openingOf(accused, accused)
  const message = {
    action: 'Open-Dispute' as const,
    tags: { Job: trial.job, Accused: accused.miner.address, ...tags },
    data,
  }
  const { id, code } = await trial.send(me, message)
  expect(code).toBeUndefined()
  count(traffic, message)
  return id
}

const pick = (view: DisputeView, action: DisputeMessage['action'], tags: Record<string, number>) => ({
  action,
  tags: {
    Dispute: view.id,
    ...Object.fromEntries(Object.entries(tags).map(([name, value]) => [name, String(value)])),
  },
})

/** Goes for one operation, whatever the accused answers, and proves that it is right. */
const towards =
  ({ trial, accused }: Scene, stage: number, operation: number, from: Trial = trial): Move =>
  view => {
    const moves = view.moves ?? []
    if (moves.includes('Pick-Stage')) return pick(view, 'Pick-Stage', { Stage: stage })
    if (moves.includes('Pick-Operation'))
      return pick(view, 'Pick-Operation', {
        ...(view.stage === undefined ? { Stage: stage } : {}),
        Operation: operation,
      })
    const disputed = new DisputedStage(from.honest, view.position ?? 0, stage)
    const shown = { result: accused.result, answers: from.said(view.accused) }
    const inputs = stepInputs(disputed, shown, view.pages, disputed.plan[operation]!.chunk(0))
    return {
      ...pick(view, 'Prove-Step', { Chunk: 0 }),
      data: {
        inputs: inputs.map(({ leaves, path }) => proven(new Uint8Array(Buffer.concat(leaves)), path)),
      },
    }
  }

/** Plays on at the first node, row, stage and operation, until it must make this move. */
const silentAt =
  (scene: Scene, action: DisputeMessage['action']): Move =>
  view => {
    const moves = view.moves ?? []
    if (moves.includes(action as (typeof moves)[number])) return undefined
    if (moves.includes('Pick-Node')) return pick(view, 'Pick-Node', { Node: view.node ?? 0 })
    if (moves.includes('Pick-Row')) return pick(view, 'Pick-Row', { Row: 0 })
    return towards(scene, 1, 0)(view)
  }

/** The accused shows operations with its stages where they fit, and then nobody is asked for a stage alone. */
const STALLS: readonly Challenger[] = (
  [
    ['Pick-Node', { Tree: 'checkpoints' }],
    ['Pick-Row', { Page: '0' }],
    ['Pick-Operation', { Position: '1' }],
    ['Prove-Step', { Tree: 'pages' }],
  ] as const
).map(([action, tags]) => ({
  name: `opens, and is silent at ${action}`,
  plays: async scene => {
    const ended = await drive(
      scene.trial,
      await open(scene, tags),
      scene.accused,
      silentAt(scene, action),
      scene.traffic,
    )
    expect(ended.state).toBe('abandoned')
    return 1
  },
}))

const every = (what: string, position: number): Challenger => ({
  name: `challenges an honest miner at every operation of ${what}`,
  plays: async scene => {
    const { terms } = scene.trial.honest
    let bonds = 0
    for (let stage = 0; stage < stageCount(terms, position); stage++) {
      for (const [k, operation] of planStage(terms, position, stage).entries()) {
        if (operation.advice) continue
        const id = await open(scene, { Position: String(position) })
        const ended = await drive(scene.trial, id, scene.accused, towards(scene, stage, k), scene.traffic)
        expect([operation.name, ended]).toEqual([operation.name, { state: 'refuted', refusals: [] }])
        bonds++
      }
    }
    return bonds
  },
})

const CHALLENGERS: readonly Challenger[] = [
  {
    name: 'lies about what the machine gives',
    plays: async ({ trial, accused, me, traffic }) => {
      const wrong = await trial.run(trial.bundle, { noise: [1, 2] })
      const opening = trial.opening(accused, wrong, accused.run)
      const { id } = await trial.send(me, opening)
      count(traffic, opening)
      const played = await trial.play(id, wrong, accused)
      traffic.messages += played.messages.length
      traffic.bytes += played.bytes
      traffic.largest = Math.max(traffic.largest, played.largest)
      expect(['refuted', 'abandoned']).toContain(played.view.state)
      return 1
    },
  },
  ...STALLS,
  every('a prompt token', 1),
  every('a generated token', PROMPT + 1),
  {
    name: 'proves with the data of another job',
    plays: async scene => {
      const id = await open(scene, { Position: '6' })
      const move = towards(scene, 1, 0, scene.other)
      const ended = await drive(scene.trial, id, scene.accused, move, scene.traffic)
      expect(ended.state).toBe('abandoned')
      expect(ended.refusals[0]).toBe('wrong-path')
      return 1
    },
  },
  {
    name: 'shows leaves of another job',
    plays: async ({ trial, other, accused, me }) => {
      const { miner } = accused
      const wrong = withWrongNumber(other.honest, 1, 2)
      const claim = { run: wrong, result: other.sides.get(miner.address)!.result, miner }
      const { data } = other.opening(claim, other.honest, wrong)
      const tags = { Job: trial.job, Accused: miner.address, Index: '1' }
      const sent = await trial.send(me, { action: 'Prove-Structure', tags, data })
      expect(sent.code).toBe('wrong-path')
      return 0
    },
  },
  {
    name: 'replays its own messages',
    plays: async scene => {
      const { trial, accused, me, traffic } = scene
      const { world } = trial
      const { data } = await trial.openingOf(accused, accused)
      const tags = {
        Action: 'Open-Dispute',
        Reference: '7',
        Job: trial.job,
        Accused: accused.miner.address,
        Position: '3',
      }
      const opening = { from: me, process: world.network, tags, data: JSON.stringify(data) }
      const first = await world.raw(opening)
      expect(first.code).toBeUndefined()
      count(traffic, { action: 'Open-Dispute', tags, data })
      expect((await world.raw({ ...opening, id: first.id })).code).toBe('duplicate')
      expect((await world.raw(opening)).code).toBe('duplicate')
      const move = towards(scene, 1, 0)
      const ended = await drive(trial, first.id, accused, move, traffic)
      expect(ended.state).toBe('refuted')
      const proof = { ...pick(world.dispute(first.id), 'Prove-Step', { Chunk: 0 }), data: { inputs: [] } }
      expect((await trial.send(me, proof)).code).toBe('unknown-dispute')
      return 1
    },
  },
  {
    name: 'answers in the name of the accused',
    plays: async scene => {
      const { trial, me } = scene
      const id = await open(scene, { Position: '7' })
      const view = trial.world.dispute(id)
      const answer = { action: 'Answer-Stages' as const, tags: { Dispute: view.id }, data: { digests: '' } }
      expect((await trial.send(me, answer)).code).toBe('not-your-move')
      expect((await drive(trial, id, scene.accused, () => undefined, scene.traffic)).state).toBe('abandoned')
      return 1
    },
  },
]

describe('a hostile challenger of an honest seat pays for it:', () => {
  let trial: Trial
  let other: Trial
  let accused: Side
  const rows: object[] = []

  beforeAll(async () => {
    const options = { sampler: SAMPLER, maxTokens: TOKENS, promptLength: PROMPT }
    trial = await Trial.open({ ...options, parameters: { disputeWindow: 600 * MINUTE } })
    other = await Trial.submit(trial.cast, trial.bundle, { ...options, promptLength: PROMPT + 1 })
    ;[accused] = (await trial.compute()) as [Side, ...Side[]]
    await other.compute()
  })

  for (const [i, { name, plays }] of CHALLENGERS.entries()) {
    it(name, async () => {
      const { world, cast } = trial
      const me = addressOf(`challenger-${i}`)
      const units = 400n * APUS
      await world.send(cast.requester, world.token, 'Transfer', { Recipient: me, Quantity: String(units) })
      await world.pay(me, units, 'Deposit')
      const purses = new Purses(world)
      const traffic = noTraffic()
      const cost = DISPUTE_BOND * BigInt(await plays({ trial, other, accused, me, traffic }))
      const gains = purses.gains()
      expect(traffic.largest).toBeLessThanOrEqual(65_536)
      const of = accused.miner.address
      expect(gains.get(me)).toBe(-cost)
      expect(gains.get(of)).toBe(cost / 2n)
      for (const [who, gain] of gains) if (who !== me && who !== of) expect([who, gain]).toEqual([who, 0n])
      expect(world.job(trial.job).seats.every(seat => seat.slashed === undefined)).toBe(true)
      rows.push({ actor: name, net: inApus(-cost), accused: inApus(cost / 2n), ...traffic })
    })
  }

  it('and the job is settled with the wage of every seat', async () => {
    await trial.finish()
    expect(trial.world.job(trial.job).state).toBe('settled')
    const wage = String(BASE_PRICE + TOKEN_PRICE * BigInt(trial.honest.tokens.length))
    for (const seat of trial.world.job(trial.job).seats) expect(seat.paid).toBe(wage)
    const late = await trial.send(addressOf('challenger-0'), {
      action: 'Open-Dispute',
      tags: { Job: trial.job, Accused: accused.miner.address, Position: '1' },
      data: {},
    })
    expect(late.code).toBe('job-ended')
  })

  afterAll(() => printTable(rows))
})
