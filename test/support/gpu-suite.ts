import { readFileSync } from 'node:fs'
import { Oracle } from '@apus/shared/machine'
import { afterAll, expect, test } from 'vitest'
import { primitiveCases } from '../../node/src/engine/webgpu/primitive-cases.ts'
import { pageLeaf } from '../../shared/src/machine/digests.ts'
import { samplerSettings } from '../../shared/src/protocol/sampler.ts'
import { type Driver, GpuProcess, softwareGpus } from './gpu.ts'
import { type ModelVector, resultVector, vectorRequest } from './machine/golden.ts'
import { AWKWARD_SHAPES, otherShiftInSecondSegment, randomBundle } from './machine/random-model.ts'
import { needs } from './parts.ts'
import { gameSeed, seededRandom } from './random.ts'

const SEED = 41
const PRIMITIVE_CASES = 170_000
/** As on a graphics card, where more is computed at once than the software drivers are given. */
const CARD_TUNING = { solo: false, workgroup: 64, rows: 4, columns: 4 }
/** Runs that come and go. */
const CHURN = 18
/** A position in the second group of pages. */
const LONG_PROMPT = 4130

const golden: readonly ModelVector[] = JSON.parse(
  readFileSync(new URL('../vectors/machine/models.json', import.meta.url), 'utf8'),
)

function bundleOf({ shape: name, seed }: ModelVector) {
  const shape = AWKWARD_SHAPES.find(candidate => candidate.name === name)
  if (shape === undefined) throw new RangeError(`no shape ${name}`)
  return randomBundle(shape, seed)
}

const wantedOf = ({ runs }: ModelVector) =>
  runs.map(({ tokens, flag, checkpointRoot, kvRoot }) => ({ tokens, flag, checkpointRoot, kvRoot }))

const vectorOf = (shape: string): ModelVector => golden.find(candidate => candidate.shape === shape)!

/** Everything that must hold on a driver; where a driver is not here, that is left out by name. */
export async function testMachineOn(name: Driver['name']): Promise<void> {
  const driver = (await softwareGpus()).find(candidate => candidate.name === name)
  if (driver === undefined) throw new RangeError('no such driver')
  const options = needs(driver.missing)
  const gpu = driver.missing === undefined ? new GpuProcess(driver) : undefined
  afterAll(() => gpu?.close())

  test('answers every primitive as the oracle does, at its edges', options, async () => {
    const random = seededRandom(gameSeed(SEED))
    const all = primitiveCases(PRIMITIVE_CASES, random.below)
    const answers = await gpu!.primitives(all)
    const wrong = all.filter(
      ({ answer }, i) => answer[0] !== answers[2 * i] || answer[1] !== answers[2 * i + 1],
    )
    expect(wrong).toEqual([])
  })

  test('gives the known answers that a miner starts with', options, async () => {
    await gpu!.knownAnswers()
  })

  test.each(golden)('runs $shape to the golden bytes, four runs at a time', options, async vector => {
    const given = await gpu!.runs(bundleOf(vector).leaves, vector.runs.map(vectorRequest))
    expect(given.map(resultVector)).toEqual(wantedOf(vector))
  })

  test('a run that begins while another ends is computed', options, async () => {
    const vector = vectorOf('two leaves')
    // It stops before its maximum, with steps under way that it does not need.
    const run = vector.runs.findIndex(({ flag }) => flag === 2)
    const given = await gpu!.relay(bundleOf(vector).leaves, vectorRequest(vector.runs[run]!))
    expect(given.map(resultVector)).toEqual([wantedOf(vector)[run], wantedOf(vector)[run]])
  })

  test('runs that come and go leave the others as they are', options, async () => {
    const vector = vectorOf('tiny')
    const room = { sequences: 3, positions: 512 }
    const requests = vector.runs.map(vectorRequest)
    const outcomes = await gpu!.churn(bundleOf(vector).leaves, requests, CHURN, room)
    const wanted = wantedOf(vector)
    for (const { request, result } of outcomes)
      if (result) expect(resultVector(result)).toEqual(wanted[request])
    const interrupted = outcomes.filter(({ result }) => result === undefined)
    expect([outcomes.length, interrupted.length > 2]).toEqual([CHURN, true])
  })

  test('gives the pages whose hashes are the leaves of a run', options, async () => {
    const { leaves } = bundleOf(vectorOf('grouped'))
    const request = {
      ...vectorRequest(vectorOf('grouped').runs[0]!),
      prompt: Array.from({ length: 70 }, (_, i) => i),
    }
    const [run] = await gpu!.runs(leaves, [request])
    const pages = await gpu!.pages(leaves, [...request.prompt, ...run!.tokens.slice(0, -1)])
    expect(pages.map(pageLeaf)).toEqual(run!.pageLeaves)
  })

  test('a second group of pages has the bytes of the oracle', options, async () => {
    const bundle = randomBundle({ ...AWKWARD_SHAPES[0]!, context: 8192 }, SEED)
    const random = seededRandom(SEED)
    const request = {
      prompt: Array.from({ length: LONG_PROMPT }, () => random.below(70)),
      sampler: samplerSettings.parse({}),
      noise: [1, 2] as const,
      maxTokens: 2,
      stop: [],
    }
    const [given, wanted] = await Promise.all([
      gpu!.runs(bundle.leaves, [request]),
      new Oracle(bundle).run(request, new AbortController().signal),
    ])
    expect(given).toEqual([wanted])
  })

  test('tuning, batch size and memory change no byte of a result', options, async () => {
    const vector = vectorOf('many rows')
    const { leaves } = bundleOf(vector)
    for (const options of [
      { columns: 8, tuning: CARD_TUNING },
      { columns: 4, sequences: 1, positions: 512 },
    ]) {
      const given = await gpu!.runs(leaves, vector.runs.map(vectorRequest), options)
      expect(given.map(resultVector)).toEqual(wantedOf(vector))
    }
  })

  test('an adapter with one wrong bit is refused', options, async () => {
    await expect(gpu!.wrongAnswers()).rejects.toMatchObject({ code: 'gpu-wrong' })
  })

  test('refuses a bundle with a number outside the bounds', options, async () => {
    const { leaves } = bundleOf(vectorOf('tiny'))
    const broken = leaves.map((leaf, i) => (i === 6 ? Uint8Array.of(0x80, ...leaf.subarray(1)) : leaf))
    const wide = vectorOf('segments')
    const other = otherShiftInSecondSegment(bundleOf(wide).leaves)
    await expect(gpu!.runs(other, [])).rejects.toMatchObject({ code: 'bundle-invalid' })
    await expect(gpu!.runs(broken, [])).rejects.toMatchObject({ code: 'bundle-invalid' })
    await expect(gpu!.runs(leaves.slice(0, 6), [])).rejects.toMatchObject({ code: 'bundle-invalid' })
  })

  test('names what does not fit into its memory', options, async () => {
    const vector = vectorOf('tiny')
    const { leaves } = bundleOf(vector)
    const run = (length: number) => {
      const request = { ...vectorRequest(vector.runs[0]!), prompt: Array.from({ length }, () => 1) }
      return gpu!.runs(leaves, [request], { sequences: 1, positions: 64 })
    }
    await expect(run(200)).rejects.toMatchObject({ code: 'gpu-out-of-memory' })
    await expect(run(600)).rejects.toMatchObject({ code: 'prompt-too-long' })
    // Keys and values of so many positions pass every device's largest buffer.
    await expect(gpu!.runs(leaves, [], { positions: 2 ** 28 })).rejects.toMatchObject({
      code: 'gpu-out-of-memory',
    })
  })

  test('an engine whose device is lost refuses every later run', options, async () => {
    const lost = new GpuProcess(driver)
    try {
      const vector = vectorOf('tiny')
      await lost.info()
      await lost.lose()
      for (let again = 0; again < 2; again++)
        await expect(lost.runs(bundleOf(vector).leaves, [])).rejects.toMatchObject({ code: 'device-lost' })
    } finally {
      await lost.close()
    }
  })

  test('fails for good after the first refused command', options, async () => {
    await expect(gpu!.badKernel()).rejects.toMatchObject({ code: 'gpu-error' })
    const vector = vectorOf('tiny')
    await expect(gpu!.runs(bundleOf(vector).leaves, [])).rejects.toMatchObject({ code: 'gpu-error' })
  })
}
