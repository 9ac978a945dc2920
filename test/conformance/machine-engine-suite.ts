import {
  type BundleReader,
  jobNoise,
  type MachineEngine,
  Oracle,
  type RunRequest,
  type RunResult,
} from '@apus/shared/machine'
import { Q16_ONE, type SamplerSettings } from '@apus/shared/protocol'
import { afterAll, describe, expect, test } from 'vitest'
import { pageLeaf } from '../../shared/src/machine/digests.ts'
import { churn } from '../support/machine/churn.ts'
import {
  AWKWARD_SHAPES,
  MemoryBundle,
  type ModelShape,
  otherShiftInSecondSegment,
  randomBundle,
} from '../support/machine/random-model.ts'
import { relay } from '../support/machine/relay.ts'
import { seededRandom } from '../support/random.ts'

const SEED = 20_261_121
/** Runs that come and go. */
const CHURN = 300
const SEGMENTS = AWKWARD_SHAPES.find(({ name }) => name === 'segments') as ModelShape

const GREEDY: SamplerSettings = {
  temperature: 0,
  topK: 0,
  topP: Q16_ONE,
  repeatPenalty: Q16_ONE,
  frequencyPenalty: 0,
  presencePenalty: 0,
  penaltyWindow: 64,
  seed: 0,
}

/** One of each way to choose a token, and all of them together. */
const SAMPLERS: readonly Partial<SamplerSettings>[] = [
  {},
  { repeatPenalty: 90_000, presencePenalty: -3000, penaltyWindow: 7 },
  { temperature: Q16_ONE },
  { temperature: 4 * Q16_ONE, topK: 3 },
  { temperature: 655, topP: 40_000 },
  { temperature: 90_000, topP: 1, topK: 1024 },
  {
    temperature: 50_000,
    topK: 40,
    topP: 60_000,
    repeatPenalty: 70_000,
    frequencyPenalty: 2000,
    presencePenalty: 131_072,
  },
]

const never = new AbortController().signal

/** Requests of all samplers and of prompts that end before, at and behind the edges of pages. */
export function requestsFor(
  { manifest }: MachineEngine,
  promptLengths: readonly number[],
  maxTokens: number,
): RunRequest[] {
  const random = seededRandom(SEED)
  return promptLengths.map((length, i) => ({
    prompt: Array.from({ length }, () => random.below(manifest.vocab)),
    sampler: { ...GREEDY, ...SAMPLERS[i % SAMPLERS.length], seed: i },
    noise: jobNoise(`job ${i}`, i),
    maxTokens,
    stop: [],
  }))
}

/** What can be compared of a result. */
const comparable = ({ tokens, stop, checkpoints, pageLeaves }: RunResult) => ({
  tokens: [...tokens],
  stop,
  checkpoints: checkpoints.map(c => Buffer.from(c).toString('hex')),
  pageLeaves: pageLeaves.map(l => Buffer.from(l).toString('hex')),
})

const known = new Map<string, ReturnType<typeof comparable>[]>()

/** The oracle's results, computed once in a process however many machines are compared with them. */
export async function expectedOf(key: string, bundle: BundleReader, requests: readonly RunRequest[]) {
  const found = known.get(key)
  if (found) return found
  const oracle = new Oracle(bundle)
  const results = []
  for (const request of requests) results.push(comparable(await oracle.run(request, never)))
  known.set(key, results)
  return results
}

/** The pages that a machine tells of the run with the longest prompt are those under its leaves. */
async function samePages(
  machine: MachineEngine,
  requests: readonly RunRequest[],
  results: readonly RunResult[],
): Promise<void> {
  const lengths = requests.map(({ prompt }) => prompt.length)
  const longest = lengths.indexOf(Math.max(...lengths))
  const { prompt } = requests[longest] as RunRequest
  const { tokens, pageLeaves } = results[longest] as RunResult
  const pages = await machine.pages?.([...prompt, ...tokens.slice(0, -1)], never)
  if (pages !== undefined) expect(pages.map(pageLeaf)).toEqual(pageLeaves)
}

export type OpenMachine = (bundle: MemoryBundle) => Promise<MachineEngine>

/** Runs the requests together and compares every token, checkpoint and page with the oracle's. Returns the positions compared. */
export async function compareWithOracle(
  key: string,
  bundle: MemoryBundle,
  open: OpenMachine,
  promptLengths: readonly number[],
  maxTokens: number,
): Promise<number> {
  const machine = await open(bundle)
  try {
    const requests = requestsFor(machine, promptLengths, maxTokens)
    const expected = await expectedOf(key, bundle, requests)
    const results = await Promise.all(requests.map(request => machine.run(request, never)))
    expect(results.map(comparable)).toEqual(expected)
    await samePages(machine, requests, results)
    return results.reduce((sum, { tokens }, i) => sum + (promptLengths[i] ?? 0) + tokens.length - 1, 0)
  } finally {
    await machine.close()
  }
}

/** The bytes of seeded models of awkward shapes. */
export function sameBytes(
  name: string,
  open: OpenMachine,
  shapes: readonly ModelShape[] = AWKWARD_SHAPES,
): void {
  describe(`${name} gives the oracle's bytes`, () => {
    for (const shape of shapes) {
      test(`for the model "${shape.name}"`, async () => {
        const bundle = randomBundle(shape, SEED)
        await compareWithOracle(shape.name, bundle, open, [1, 3, 66, 63, 2, 17, 40], 4)
      })
    }
  })
}

/** How a machine behaves around its runs: order, endings, refusals, interruption. */
export function runsAndRefusals(name: string, open: OpenMachine): void {
  describe(`${name} keeps the rules of a run`, () => {
    const shape: ModelShape = { name: 'rules', layers: 2, vocab: 300, context: 80 }
    const bundle = randomBundle(shape, SEED)
    const opened = open(bundle)
    const pieces = new Oracle(bundle).model.pieces
    const request = (more: Partial<RunRequest> = {}): RunRequest => ({
      prompt: [5, 6, 7],
      sampler: { ...GREEDY, temperature: 2 * Q16_ONE },
      noise: [1, 2],
      maxTokens: 9,
      stop: [],
      ...more,
    })
    afterAll(async () => {
      await (await opened).close()
    })

    test('tokens are told in order, as they stand in the result', async () => {
      const told: number[][] = []
      const { tokens, stop } = await (await opened).run(request(), never, (token, index) =>
        told.push([index, token]),
      )
      expect(told).toEqual(tokens.map((token, index) => [index, token]))
      expect([tokens.length, stop]).toEqual([9, 3])
    })

    test('a stop string ends a run, also when several tokens make it', async () => {
      const machine = await opened
      const { tokens } = await machine.run(request(), never)
      const text = Buffer.concat(tokens.map(t => pieces[t] as Uint8Array))
      const string = text.subarray(text.length >> 1, (text.length >> 1) + 3)
      const stopped = request({ stop: [string] })
      const result = await machine.run(stopped, never)
      expect(result.stop).toBe(2)
      expect(result.tokens.length).toBeLessThan(9)
      expect(comparable(result)).toEqual(comparable(await new Oracle(bundle).run(stopped, never)))
    })

    test('the context ends a run', async () => {
      const prompt = Array.from({ length: 78 }, (_, i) => i)
      const full = request({ prompt, maxTokens: 100 })
      const result = await (await opened).run(full, never)
      expect([result.tokens.length, result.stop]).toEqual([3, 4])
      expect(comparable(result)).toEqual(comparable(await new Oracle(bundle).run(full, never)))
    })

    test.each([
      ['no prompt', 'prompt-invalid', { prompt: [] }],
      ['no room for an answer', 'prompt-invalid', { maxTokens: 0 }],
      ['a prompt longer than the context', 'prompt-too-long', { prompt: new Array(81).fill(1) }],
      ['a token past the vocabulary', 'token-unknown', { prompt: [1, 300] }],
      ['a negative token', 'token-unknown', { prompt: [-1] }],
    ])('%s is refused', async (_, code, more) => {
      await expect((await opened).run(request(more), never)).rejects.toMatchObject({ code })
    })

    test('an interrupted run ends as aborted and leaves the others as they are', async () => {
      const machine = await opened
      const alone = comparable(await machine.run(request({ maxTokens: 40 }), never))
      const controller = new AbortController()
      const [other, stopped, before] = await Promise.allSettled([
        machine.run(request({ maxTokens: 40 }), never),
        machine.run(request({ maxTokens: 40 }), controller.signal, (_, index) => {
          if (index === 5) controller.abort()
        }),
        machine.run(request(), AbortSignal.abort()),
      ])
      expect(stopped).toMatchObject({ reason: { code: 'aborted' } })
      expect(before).toMatchObject({ reason: { code: 'aborted' } })
      expect(other.status === 'fulfilled' && comparable(other.value)).toEqual(alone)
      expect(comparable(await machine.run(request({ maxTokens: 40 }), never))).toEqual(alone)
    })

    test('runs that come and go leave the others as they are', async () => {
      const machine = await opened
      const requests = requestsFor(machine, [1, 66, 3, 17, 40, 2, 63], 14)
      const wanted = await expectedOf('rules', bundle, requests)
      const outcomes = await churn(machine, requests, CHURN)
      for (const { request, result } of outcomes)
        if (result) expect(comparable(result)).toEqual(wanted[request])
      const interrupted = outcomes.filter(({ result }) => result === undefined)
      expect([outcomes.length, interrupted.length > 10]).toEqual([CHURN, true])
    })

    test('a run that begins while another ends is computed', async () => {
      const machine = await opened
      const alone = comparable(await machine.run(request(), never))
      const results = await relay(machine, request())
      expect(results.map(comparable)).toEqual([alone, alone])
    })

    test('more runs than fit at a time wait for their turn', async () => {
      const machine = await opened
      const alone = comparable(await machine.run(request(), never))
      const many = await Promise.all(Array.from({ length: 40 }, () => machine.run(request(), never)))
      for (const result of many) expect(comparable(result)).toEqual(alone)
    })

    test('a bundle outside the domain is refused', async () => {
      const spoil = (index: number, change: (leaf: Uint8Array) => Uint8Array) =>
        new MemoryBundle(bundle.leaves.map((leaf, i) => (i === index ? change(leaf.slice()) : leaf)))
      const weights = bundle.leaves.findIndex(leaf => leaf.length > 2000)
      const bad = [
        spoil(0, leaf => leaf.subarray(1)),
        spoil(1, leaf => leaf.subarray(8)),
        spoil(2, leaf => leaf.fill(0x7f)),
        spoil(weights, leaf => leaf.fill(0x80, 0, 1)),
        spoil(weights, leaf => leaf.fill(0xff, leaf.length - 40)),
        new MemoryBundle(bundle.leaves.slice(0, -8)),
        new MemoryBundle([...bundle.leaves, Uint8Array.of(1)]),
        new MemoryBundle(otherShiftInSecondSegment(randomBundle(SEGMENTS, SEED).leaves)),
      ]
      for (const one of bad) {
        await expect(open(one)).rejects.toMatchObject({ code: 'bundle-invalid' })
      }
    })
  })
}
