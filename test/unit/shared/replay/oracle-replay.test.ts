import { decodeManifest, jobNoise, type RunRequest } from '@apus/shared/machine'
import { OracleReplay, provingBundle } from '@apus/shared/replay'
import { expect, it } from 'vitest'
import { CpuMachine } from '../../../../node/src/engine/cpu/cpu-machine.ts'
import { pageLeaf } from '../../../../shared/src/machine/digests.ts'
import { stageCount } from '../../../../shared/src/machine/plan.ts'
import { samplerSettings } from '../../../../shared/src/protocol/sampler.ts'
import { AWKWARD_SHAPES, type ModelShape, randomBundle } from '../../../support/machine/random-model.ts'
import { seededRandom } from '../../../support/random.ts'

const SEED = 7
const never = new AbortController().signal

/** A run of a model as the oracle gives it, and as the CPU engine does with its pages. */
async function ranTwice(shape: string, promptLength: number) {
  const bundle = randomBundle(AWKWARD_SHAPES.find(({ name }) => name === shape) as ModelShape, SEED)
  const { vocab } = decodeManifest(bundle.leaf(0))
  const random = seededRandom(SEED)
  const request: RunRequest = {
    prompt: Array.from({ length: promptLength }, () => random.below(vocab)),
    sampler: samplerSettings.parse({ temperature: 60_000, repeatPenalty: 70_000 }),
    noise: jobNoise('job', SEED),
    maxTokens: 6,
    stop: [],
  }
  const proving = provingBundle(bundle.root, bundle.leaves)
  const machine = await CpuMachine.load(bundle.leaves.entries(), { threads: 1 })
  try {
    const result = await machine.run(request, never)
    const pages = await machine.pages([...request.prompt, ...result.tokens.slice(0, -1)], never)
    return { proving, request, result, pages, oracle: await OracleReplay.run(proving, request, never) }
  } finally {
    await machine.close()
  }
}

const operationsAt = (run: OracleReplay, position: number) =>
  Array.from({ length: stageCount(run.terms, position) }, (_, stage) =>
    run.operations(position, stage).map(leaves => Buffer.concat(leaves).toString('base64')),
  )
const pagesOf = (run: OracleReplay) =>
  Array.from(run.pageLeaves.keys(), index => Buffer.from(run.page(index)).toString('base64'))

it.each([
  // The answer begins in the first page and ends in the second.
  ['grouped', 62],
  ['many heads', 130],
  ['segments', 65],
])(
  'a replay of "%s" with the pages of an engine gives the values of the oracle',
  async (shape, promptLength) => {
    const { proving, request, result, pages, oracle } = await ranTwice(shape, promptLength)
    const replay = OracleReplay.of(proving, request, result, pages)
    expect(replay.pageLeaves).toEqual(oracle.pageLeaves)
    const last = promptLength + result.tokens.length - 2
    const positions = [last, promptLength - 1, 64, 63, 1, 0]
    // Late ones first of the one, early ones first of the other, which computes all that lie before.
    const said = positions.map(position => operationsAt(replay, position))
    const right = positions.toReversed().map(position => operationsAt(oracle, position))
    expect(said).toEqual(right.toReversed())
    expect(pagesOf(replay)).toEqual(pagesOf(oracle))
  },
)

it('a replay takes from the engine the pages that match its leaves, and computes only the other positions', async () => {
  const { proving, request, result, pages, oracle } = await ranTwice('many heads', 64)
  const right = [operationsAt(oracle, 65), pagesOf(oracle)]
  const wrong = pages.map((page, i) => (i === 1 ? new Uint8Array(page.length) : page))

  const distrusting = OracleReplay.of(proving, request, result, wrong)
  await distrusting.prepare(65, never)
  expect([operationsAt(distrusting, 65), pagesOf(distrusting)]).toEqual(right)

  const misled = OracleReplay.of(proving, request, { ...result, pageLeaves: wrong.map(pageLeaf) }, wrong)
  expect(misled.page(1)).toEqual(wrong[1])
  await expect(misled.prepare(65, never)).rejects.toMatchObject({ code: 'engine-wrong' })
  expect(operationsAt(misled, 65)).not.toEqual(right[0])
})

it('a replay that reads given tokens gives the values of a run that has them as its prompt', async () => {
  const { proving, request, pages, oracle } = await ranTwice('grouped', 40)
  const tokens = oracle.tokens.map((token, i) => (i === 1 ? token + 1 : token))
  const other = await OracleReplay.run(
    proving,
    { ...request, prompt: [...request.prompt, ...tokens.slice(0, -1)], maxTokens: 1 },
    never,
  )
  const fed = Array.from({ length: other.pageLeaves.length }, (_, i) => other.page(i))
  for (const reading of [oracle.reading(tokens), oracle.reading(tokens, fed)]) {
    expect(reading.tokens).toEqual(tokens)
    expect(reading.pageLeaves).toEqual(other.pageLeaves)
    const last = request.prompt.length + tokens.length - 2
    await reading.prepare(last, never)
    for (let stage = 0; stage <= reading.terms.manifest.layers; stage++)
      expect(reading.operations(last, stage)).toEqual(other.operations(last, stage))
  }
  await expect(oracle.reading(tokens, pages).prepare(request.prompt.length + 1, never)).rejects.toMatchObject(
    {
      code: 'engine-wrong',
    },
  )
})
