import { accusedAnswer, challengerMove, type DisputeMessage, SeatAnswers } from '@apus/shared/dispute'
import { bundleLayout, decodeManifest, promptTokensRoot } from '@apus/shared/machine'
import type { DisputeView } from '@apus/shared/protocol'
import type { Replay } from '@apus/shared/replay'
import { expect, it } from 'vitest'
import { APUS } from '../support/contracts.ts'
import { Court } from '../support/dispute/court.ts'
import { flipBit } from '../support/dispute/flip.ts'
import { stoppedAt, withWrongPiece, withWrongRow } from '../support/dispute/lies.ts'
import { reading } from '../support/dispute/play.ts'
import { type Side, Trial } from '../support/dispute/trial.ts'
import { gameSeed, type Random, seededRandom } from '../support/random.ts'

const SEED = 11
const SAMPLERS = [{}, { temperature: 60_000, topK: 30, topP: 60_000, seed: 4 }]
const MOST_TURNS = 26
const MOVES = ['Pick-Node', 'Pick-Row', 'Pick-Stage', 'Pick-Operation', 'Prove-Step'] as const
const ANSWERS = [
  'Answer-Level',
  'Answer-Pages',
  'Answer-Stages',
  'Answer-Operations',
  'Answer-Chunks',
] as const
const PLACES: Readonly<Record<string, readonly string[]>> = {
  'Pick-Node': ['Node'],
  'Pick-Row': ['Row'],
  'Pick-Stage': ['Stage'],
  'Pick-Operation': ['Stage', 'Operation'],
  'Prove-Step': ['Chunk'],
  'Answer-Stages': ['Position'],
  'Answer-Operations': ['Position', 'Stage'],
}
/** What both must agree on; money, queues and clocks are the contract's alone. */
const COMPARED = [
  'state',
  'turn',
  'moves',
  'tree',
  'level',
  'node',
  'pages',
  'position',
  'stage',
  'operation',
  'chunk',
] as const satisfies readonly (keyof DisputeView)[]

const looked = (view: Partial<DisputeView>) => Object.fromEntries(COMPARED.map(key => [key, view[key]]))

/** One field of the data damaged: other bytes, fewer, more, none, or no base64. */
function damaged(value: unknown, random: Random): unknown {
  if (typeof value === 'string') {
    const bytes = Buffer.from(value, 'base64')
    switch (random.below(5)) {
      case 0:
        return bytes.subarray(32).toString('base64')
      case 1:
        return Buffer.concat([bytes, bytes.subarray(0, 32)]).toString('base64')
      case 2:
        return '!'
      case 3:
        return ''
      default: {
        if (bytes.length > 0) bytes[random.below(bytes.length)]! ^= 1 << random.below(8)
        return bytes.toString('base64')
      }
    }
  }
  if (Array.isArray(value)) {
    if (value.length === 0 || random.below(4) === 0) return value.slice(1)
    const at = random.below(value.length)
    return value.map((item, i) => (i === at ? damaged(item, random) : item))
  }
  if (typeof value === 'object' && value !== null) {
    const entries = Object.entries(value)
    const at = random.below(entries.length)
    if (random.below(6) === 0) return Object.fromEntries(entries.filter((_, i) => i !== at))
    return Object.fromEntries(entries.map(([k, v], i) => [k, i === at ? damaged(v, random) : v]))
  }
  return value
}

/** Something that a party may send: its due move, that move damaged, or any other one. */
function sent(
  due: DisputeMessage | undefined,
  past: readonly DisputeMessage[],
  random: Random,
): DisputeMessage {
  const chance = random.below(10)
  if (due && chance < 6) return due
  if (due && chance < 9) {
    if (due.data !== undefined && Object.keys(due.tags).length < 2)
      return { ...due, data: damaged(due.data, random) }
    if (due.data !== undefined && random.below(2) === 0) return { ...due, data: damaged(due.data, random) }
    const names = PLACES[due.action] ?? []
    return { ...due, tags: { ...due.tags, ...placesOf(names, random) } }
  }
  if (past.length > 0 && random.below(2) === 0) return random.pick(past)
  if (random.below(3) === 0) return { action: random.pick(ANSWERS), tags: {}, data: {} }
  const action = random.pick(MOVES)
  return { action, tags: placesOf(PLACES[action] ?? [], random), data: { inputs: [] } }
}

const placesOf = (names: readonly string[], random: Random) =>
  Object.fromEntries(names.map(name => [name, String(random.below(random.pick([2, 8, 40, 300])))]))

function attempt(move: () => DisputeMessage): DisputeMessage | undefined {
  try {
    return move()
  } catch (error) {
    if ((error as { code?: string }).code === undefined && !(error instanceof RangeError)) throw error
    return undefined
  }
}

function liesOf(trial: Trial, random: Random): (Replay | Promise<Replay>)[] {
  const { honest, bundle } = trial
  const layout = bundleLayout(decodeManifest(bundle.leaf(0)))
  const wrong = (leaf: number, byte: number) => trial.run(flipBit(bundle, leaf, byte, 5))
  return [
    withWrongRow(honest, random.below(honest.pageLeaves.length), random.below(5)),
    wrong(layout.layers[1]!.gateUp.first, 3),
    wrong(layout.layers[0]!.qkv.first, 5),
    withWrongPiece(honest, 1, Buffer.from('x')),
    stoppedAt(honest, 2, 1),
    wrong(layout.output.first, 7),
  ]
}

interface Tally {
  readonly codes: Map<string, number>
  readonly ends: Map<string, number>
}
const count = (in_: Map<string, number>, name: string) => in_.set(name, (in_.get(name) ?? 0) + 1)

/** Plays one dispute against a seat before both, and compares them after every message. */
async function replay(
  trial: Trial,
  accused: Side,
  by: Side,
  random: Random,
  { codes, ends }: Tally,
): Promise<void> {
  const { world, job } = trial
  const { result } = accused
  const leaves = random.below(3) === 0 ? accused.run : undefined
  const promptTokens = promptTokensRoot(trial.request.prompt)
  const { terms } = trial.honest
  const { tokens } = accused.run
  const court = new Court({ id: job, terms, model: trial.bundle.root, promptTokens, result, tokens })
  const opening = trial.opening(accused, by.run, leaves)
  const opened = await trial.send(by.miner.address, opening)
  expect(opened.code ?? 'taken').toBe(court.take('challenger', opening) ?? 'taken')
  if (opening.action !== 'Open-Dispute') return
  const past: DisputeMessage[] = []
  for (let turn = 0; turn < MOST_TURNS; turn++) {
    const view = world.dispute(opened.id)
    // A proof in one message ends the contract's dispute as moot; the court has no other word for it than proven.
    const state = view.state === 'moot' ? 'proven' : view.state
    expect(looked(court.view)).toEqual(looked({ ...view, state }))
    if (view.state !== 'running') break
    const answers = new SeatAnswers(job, view.accused, key => world.entry('evidence', key))
    const due = attempt(() =>
      view.turn === 'accused'
        ? accusedAnswer(view, accused.run)
        : challengerMove(view, reading(by.run, tokens), { result, answers }),
    )
    if (due === undefined && random.below(3) > 0) break
    const message = sent(due, past, random)
    const side = random.below(12) === 0 ? other(view.turn!) : view.turn!
    const address = side === 'accused' ? view.accused : view.challenger
    const outcome = await trial.send(address, { ...message, tags: { ...message.tags, Dispute: opened.id } })
    const story = `${JSON.stringify(message).slice(0, 300)} after ${past.map(m => m.action).join(' ')}`
    expect(court.take(side, message) ?? 'taken', story).toBe(outcome.code ?? 'taken')
    count(codes, outcome.code ?? 'taken')
    if (outcome.code === undefined) past.push(message)
  }
  count(ends, world.dispute(opened.id).state)
}

it('the model of the court in TypeScript accepts and refuses the same moves as the contract and reaches the same states', async () => {
  const random = seededRandom(gameSeed(SEED))
  const tally: Tally = { codes: new Map(), ends: new Map() }
  const options = {
    miners: 9,
    redundancy: 7,
    promptLength: 70,
    purse: 2_000n * APUS,
    parameters: { disputeClock: 10_000 * 60_000, disputeWindow: 10_000 * 60_000 },
  }
  const first = await Trial.open(options)
  for (const { address } of first.cast.miners) await first.world.pay(address, 2_000n * APUS, 'Deposit')
  for (const [n, sampler] of SAMPLERS.entries()) {
    const trial = n === 0 ? first : await Trial.submit(first.cast, first.bundle, { ...options, sampler })
    const sides = await trial.computeWith(await Promise.all(liesOf(trial, random)))
    const honest = sides.at(-1) as Side
    const liar = sides.find(side => differs(side, honest)) as Side
    // An honest seat is accused by one whose own run is wrong, before that one is convicted.
    for (const accused of sides.reverse())
      await replay(trial, accused, differs(accused, honest) ? honest : liar, random, tally)
  }
  expect(tally.codes.size).toBeGreaterThan(7)
  expect(tally.codes.get('wrong-question')).toBeGreaterThan(1)
  expect(tally.ends.get('proven')).toBeGreaterThan(1)
})

const differs = (a: Side, b: Side) => JSON.stringify(a.result) !== JSON.stringify(b.result)
const other = (side: 'accused' | 'challenger') => (side === 'accused' ? 'challenger' : 'accused')
