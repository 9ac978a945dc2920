import { openingMove } from '@apus/shared/dispute'
import {
  bundleLayout,
  decodeManifest,
  EXP2,
  LOG2,
  type RunRequest,
  runRoots,
  SIGMOID,
  SIN,
  type Tensor,
  tileOf,
} from '@apus/shared/machine'
import type { Replay } from '@apus/shared/replay'
import { expect, it } from 'vitest'
import { BASE_PRICE, TOKEN_PRICE } from '../support/contracts-cast.ts'
import { convicts, type Liar, Purses } from '../support/dispute/docket.ts'
import { flipBit } from '../support/dispute/flip.ts'
import {
  firstThatMatters,
  withEmptyPages,
  withFakeResiduals,
  withFlippedTable,
  withOperation,
  withWrongPiece,
  withWrongRow,
} from '../support/dispute/lies.ts'
import { slipAt } from '../support/dispute/slip.ts'
import { TRIAL_SHAPE, Trial } from '../support/dispute/trial.ts'
import { MemoryBundle, randomBundle } from '../support/machine/random-model.ts'

const PROMPT = 5
const [FIRST_TOKEN, LATER_TOKEN] = [PROMPT - 1, PROMPT + 1]

const layoutOf = (trial: Trial) => bundleLayout(decodeManifest(trial.bundle.leaf(0)))

const BIT = 5

type Run = (bundle: MemoryBundle) => Replay | Promise<Replay>

/** One bit of a leaf turned, at the first of some bytes where that changes the result. */
const ofLeaf = (trial: Trial, leaf: number, bytes = [2, 4, 6, 12, 20], run: Run = b => trial.run(b)) =>
  firstThatMatters(trial.honest, bytes, byte => run(flipBit(trial.bundle, leaf, byte, BIT)))

/** One weight of some rows of one tile with a bit turned; -128 is no weight. */
function ofRows(trial: Trial, tensor: Tensor, rows: readonly number[], run?: Run) {
  const tile = tileOf(tensor, rows[0]!)
  const weights = trial.bundle.leaf(tile.leaf)
  const bytes = rows
    .flatMap(row => [0, 7, 13, 22, 31, 35, 39].map(column => (row - tile.row) * tile.columns + column))
    .filter(byte => (weights[byte]! ^ (1 << BIT)) !== 0x80)
  return ofLeaf(trial, tile.leaf, bytes, run)
}

/** One weight of a tensor's last rows with a bit turned, for one position. */
const slipIn = (trial: Trial, tensor: Tensor, position: number) =>
  ofRows(
    trial,
    tensor,
    [1, 2, 3, 5, 8, 10, 12].map(i => tensor.rows - i),
    bundle => slipAt(trial, bundle, position),
  )

const withTable = (table: Uint32Array) => (trial: Trial) =>
  withFlippedTable(table, 20, trial.honest, () => trial.run(trial.bundle))

const withSampler = (trial: Trial, changes: Partial<RunRequest['sampler']>) =>
  trial.run(trial.bundle, { sampler: { ...trial.request.sampler, ...changes } })

/** Another model's scores of the right residual: nothing is wrong but the token. */
function wrongToken(trial: Trial) {
  const { output } = layoutOf(trial)
  const other = randomBundle(TRIAL_SHAPE, 2)
  const last = tileOf(output, output.rows - 1).leaf
  const isOutput = (leaf: number) => leaf >= output.first && leaf <= last
  const mixed = trial.bundle.leaves.map((leaf, i) => (isOutput(i) ? other.leaf(i) : leaf))
  return slipAt(trial, new MemoryBundle(mixed), LATER_TOKEN)
}

const placeOf = (position: number): string => {
  if (position === FIRST_TOKEN) return 'the last prompt token'
  return position < PROMPT ? `prompt token ${position}` : `generated token ${position - PROMPT}`
}

const WRONG_OPERATIONS = (
  [
    ['first', 0, 'qkv', 1, true],
    ['first', 0, 'qkv', 1, false],
    ['middle', 1, 'gateUp', 2, true],
    ['middle', 1, 'gateUp', 2, false],
    ['last', 2, 'qkv', 3, false],
    ['last', 2, 'down', FIRST_TOKEN, false],
    ['first', 0, 'down', LATER_TOKEN, true],
    ['middle', 1, 'o', LATER_TOKEN, false],
    ['last', 2, 'gateUp', LATER_TOKEN, false],
  ] as const
).map(([which, layer, tensor, position, shows]): Liar => {
  const told = shows ? 'shown' : 'withheld'
  return {
    name: `${tensor} of the ${which} layer at ${placeOf(position)}, its leaves ${told}`,
    lies: trial => slipIn(trial, layoutOf(trial).layers[layer]![tensor], position),
    shows,
    verdict: 'proven',
  }
})

convicts('wrong operation', WRONG_OPERATIONS, {
  shape: { ...TRIAL_SHAPE, layers: 3 },
  promptLength: PROMPT,
})

const ONE_BIT: readonly Liar[] = [
  {
    name: 'of a weight of the embedding',
    lies: trial => ofRows(trial, layoutOf(trial).embedding, [trial.request.prompt[2]!]),
    verdict: 'proven',
  },
  {
    name: 'of a gain of a norm',
    lies: trial => ofLeaf(trial, layoutOf(trial).gains(1)),
    verdict: 'proven',
  },
  {
    name: 'of the table of frequencies',
    lies: trial => ofLeaf(trial, layoutOf(trial).frequencies),
    verdict: 'proven',
  },
  { name: 'of its table of powers of two', lies: withTable(EXP2), verdict: 'proven' },
  { name: 'of its table of sines', lies: withTable(SIN), verdict: 'proven' },
  { name: 'of its table of sigmoids', lies: withTable(SIGMOID), verdict: 'proven' },
  {
    name: 'of one K row at position 0, its leaves shown',
    lies: trial => withWrongRow(trial.honest, 0, 0),
    shows: true,
    verdict: 'proven',
  },
  {
    name: 'of one K row at position 0, its leaves withheld',
    lies: trial => withWrongRow(trial.honest, 4, 0),
    verdict: 'proven',
  },
  {
    name: 'of one V row of a generated token',
    lies: trial => withWrongRow(trial.honest, 7, LATER_TOKEN),
    verdict: 'proven',
  },
  {
    name: 'of one answer piece',
    lies: trial => withWrongPiece(trial.honest, 2, Buffer.from('lie')),
    verdict: 'moot',
  },
]

convicts('one flipped bit', ONE_BIT, { promptLength: PROMPT })

const FAKES: readonly Liar[] = [
  { name: 'a wrong token', lies: wrongToken, verdict: 'proven' },
  {
    name: 'wrong logits that still give the same token, from a wrong residual',
    lies: trial => ofRows(trial, layoutOf(trial).layers[1]!.down, [0]),
    shows: true,
    verdict: 'proven',
  },
  {
    name: 'a consistent fake trace from another model',
    lies: trial => trial.run(randomBundle(TRIAL_SHAPE, 2)),
    verdict: 'moot',
  },
  {
    name: 'a consistent fake trace from a larger model',
    lies: trial => trial.run(randomBundle({ ...TRIAL_SHAPE, layers: 3 }, 1)),
    verdict: 'silent',
    refused: ['wrong-stages'],
  },
  {
    name: 'a consistent fake trace from another prompt',
    lies: trial => trial.run(trial.bundle, { prompt: [1, 2, 3, 4, 5] }),
    verdict: 'proven',
  },
  {
    name: 'a consistent fake trace from a shorter prompt',
    lies: trial => trial.run(trial.bundle, { prompt: trial.request.prompt.slice(1) }),
    verdict: 'proven',
  },
  {
    name: 'correct output with fake residuals',
    lies: trial => withFakeResiduals(trial.honest, new Uint8Array(4 * TRIAL_SHAPE.width!)),
    verdict: 'proven',
  },
  {
    name: 'correct output with fake residuals of another length',
    lies: trial => withFakeResiduals(trial.honest, new Uint8Array(4)),
    verdict: 'silent',
    refused: ['wrong-chunks'],
  },
  {
    name: 'correct output with empty pages',
    lies: trial => withEmptyPages(trial.honest),
    verdict: 'proven',
  },
]

it('wrong logits that change neither token nor residual are not disputed, and the wage is paid', async () => {
  const trial = await Trial.open({ promptLength: PROMPT })
  const { world, job, honest } = trial
  const { output } = layoutOf(trial)
  const row = Array.from({ length: output.rows }, (_, i) => i).find(i => !honest.tokens.includes(i))!
  const tile = tileOf(output, row)
  const run = await trial.run(flipBit(trial.bundle, tile.leaf, (row - tile.row) * tile.columns, 0))
  expect(runRoots(run)).toEqual(runRoots(honest))
  const [seat, other] = await trial.compute(run)
  const purses = new Purses(world)
  expect(
    openingMove(other!.run, { job, accused: seat!.miner.address, result: seat!.result, leaves: run }),
  ).toBeUndefined()
  await trial.finish()
  expect(world.job(job).state).toBe('settled')
  for (const { paid } of world.job(job).seats) expect(paid).toBe(String(BASE_PRICE + TOKEN_PRICE * 4n))
  for (const gain of purses.gains().values()) expect(gain).toBe(0n)
})

convicts('a fake', FAKES, { promptLength: PROMPT })

const SAMPLER = {
  temperature: 90_000,
  topK: 40,
  topP: 60_000,
  repeatPenalty: 90_000,
  penaltyWindow: 4,
  seed: 7,
}

/** Says that a tile has as many tokens up to the threshold as the threshold should have. */
const withWrongCount = (trial: Trial, position: number) => {
  const stage = TRIAL_SHAPE.layers! + 1
  const count = Buffer.alloc(4)
  count.writeUInt32LE(SAMPLER.topK)
  return withSampler(trial, { topK: 1 }).then(run =>
    withOperation(run, { position, stage, name: 'topk.count' }, ([leaf]) => [
      new Uint8Array(Buffer.concat([count, leaf!.subarray(4)])),
    ]),
  )
}

const withOtherWindow = (trial: Trial) =>
  firstThatMatters(trial.honest, [0, 1, 2, 3, 6, 60], penaltyWindow => withSampler(trial, { penaltyWindow }))

convicts(
  'a lie only in the choice of tokens:',
  [
    { name: 'the top-k threshold', lies: trial => withSampler(trial, { topK: 1 }), verdict: 'proven' },
    {
      name: 'the top-k threshold count',
      lies: trial => withWrongCount(trial, FIRST_TOKEN),
      verdict: 'proven',
    },
    { name: 'the top-p threshold', lies: trial => withSampler(trial, { topP: 100 }), verdict: 'proven' },
    { name: 'a penalty window', lies: withOtherWindow, verdict: 'proven' },
    { name: 'a penalty', lies: trial => withSampler(trial, { repeatPenalty: 65_536 }), verdict: 'proven' },
    {
      name: 'the temperature',
      lies: trial => withSampler(trial, { temperature: 500_000 }),
      verdict: 'proven',
    },
    { name: 'the noise', lies: trial => trial.run(trial.bundle, { noise: [1, 2] }), verdict: 'proven' },
    { name: 'the table of logarithms', lies: withTable(LOG2), verdict: 'proven' },
  ],
  { sampler: SAMPLER, promptLength: PROMPT, maxTokens: 6 },
)
