import { afterAll, expect, test } from 'vitest'
import { primitiveCases } from '../../node/src/engine/webgpu/primitive-cases.ts'
import { Oracle, type RunRequest } from '../../shared/src/machine/index.ts'
import { type Driver, GpuProcess, softwareGpus } from './gpu.ts'
import { AWKWARD_SHAPES, randomBundle } from './machine/random-model.ts'
import { seededRandom } from './random.ts'

const GREEDY = {
  temperature: 0,
  topK: 0,
  topP: 65_536,
  repeatPenalty: 65_536,
  penaltyWindow: 64,
  frequencyPenalty: 0,
  presencePenalty: 0,
  seed: 0,
}
const SAMPLED = {
  ...GREEDY,
  temperature: 58_982,
  topK: 30,
  topP: 60_000,
  repeatPenalty: 78_643,
  frequencyPenalty: 2_000,
  presencePenalty: -3_000,
}
const SEED = 41
const PRIMITIVE_CASES = 170_000
/** As on a graphics card, where more is computed at once than the software drivers are given. */
const CARD_TUNING = { workgroup: 64, rows: 4, columns: 4 }

/** Three runs that are computed together: a prompt over a page's edge, a prompt of one token, and sampling. */
function requestsFor(vocab: number, positions: number): RunRequest[] {
  const random = seededRandom(vocab)
  const prompt = (length: number) => Array.from({ length }, () => random.below(vocab))
  const request = (length: number, maxTokens: number, sampler: typeof GREEDY): RunRequest => ({
    prompt: prompt(length),
    sampler,
    noise: [random.u32(), random.u32()],
    maxTokens,
    stop: [],
  })
  return [request(positions, 4, GREEDY), request(1, 5, { ...SAMPLED, topK: 0 }), request(9, 5, SAMPLED)]
}

/** Wide models are slow to compute plainly; they cross no page. */
const positionsOf = (name: string): number => (name === 'two leaves' || name === 'many rows' ? 9 : 66)

const cases = AWKWARD_SHAPES.map(shape => {
  const bundle = randomBundle(shape, SEED)
  const oracle = new Oracle(bundle)
  return {
    name: shape.name,
    bundle,
    oracle,
    requests: requestsFor(oracle.manifest.vocab, positionsOf(shape.name)),
  }
})
const expected = new Map<string, Awaited<ReturnType<Oracle['run']>>[]>()

async function oracleRuns({ name, oracle, requests }: (typeof cases)[number]) {
  const known = expected.get(name)
  if (known !== undefined) return known
  const { signal } = new AbortController()
  const runs = []
  for (const request of requests) runs.push(await oracle.run(request, signal))
  expected.set(name, runs)
  return runs
}

/** Everything that must hold on a driver; a driver that is not here is skipped, and said to be. */
export async function testMachineOn(name: Driver['name']): Promise<void> {
  const driver = (await softwareGpus()).find(candidate => candidate.name === name)
  if (driver === undefined) throw new RangeError('no such driver')
  const { missing } = driver
  const here = missing === undefined
  const gpu = here ? new GpuProcess(driver) : undefined
  if (!here) process.stderr.write(`skipped: no ${name} (${missing})\n`)
  afterAll(() => gpu?.close())

  test.skipIf(!here)('answers every primitive as the oracle does, at its edges', async () => {
    const random = seededRandom(SEED)
    const all = primitiveCases(PRIMITIVE_CASES, random.below)
    const answers = await gpu!.primitives(all)
    const wrong = all.filter(
      ({ answer }, i) => answer[0] !== answers[2 * i] || answer[1] !== answers[2 * i + 1],
    )
    expect(wrong).toEqual([])
  })

  test.skipIf(!here)('gives the known answers that a miner starts with', async () => {
    await gpu!.knownAnswers()
  })

  test.skipIf(!here).each(cases)('runs $name to the bytes of the oracle, three at a time', async it => {
    const given = gpu!.runs(it.bundle.leaves, it.requests)
    const wanted = await oracleRuns(it)
    expect(await given).toEqual(wanted)
  })

  test.skipIf(!here)('tuning, batches and room change no byte', async () => {
    const it = cases.find(candidate => candidate.name === 'many heads')!
    const wanted = await oracleRuns(it)
    for (const options of [
      { columns: 8, tuning: CARD_TUNING },
      { columns: 4, sequences: 1, positions: 128 },
    ]) {
      expect(await gpu!.runs(it.bundle.leaves, it.requests, options)).toEqual(wanted)
    }
  })

  test.skipIf(!here)('refuses a bundle with a number outside the bounds', async () => {
    const { bundle } = cases[0]!
    const leaves = bundle.leaves.map((leaf, i) => {
      if (i !== 6) return leaf
      const copy = leaf.slice()
      copy[0] = 0x80
      return copy
    })
    await expect(gpu!.runs(leaves, [])).rejects.toMatchObject({ code: 'bundle-invalid' })
  })

  test.skipIf(!here)('says what it has no room for', async () => {
    const { bundle, requests } = cases[0]!
    await expect(gpu!.runs(bundle.leaves, requests, { sequences: 1, positions: 1 })).resolves.toHaveLength(3)
    const long = { ...requests[0]!, prompt: Array.from({ length: 200 }, () => 1) }
    await expect(gpu!.runs(bundle.leaves, [long], { sequences: 1, positions: 64 })).rejects.toMatchObject({
      code: 'gpu-out-of-memory',
    })
  })

  test.skipIf(!here)('fails for good after the first refused command', async () => {
    await expect(gpu!.badKernel()).rejects.toMatchObject({ code: 'gpu-error' })
    const { bundle, requests } = cases[0]!
    await expect(gpu!.runs(bundle.leaves, requests)).rejects.toMatchObject({ code: 'gpu-error' })
  })
}
