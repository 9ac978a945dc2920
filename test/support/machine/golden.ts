import { merkleRoot, toBase64Url } from '@apus/shared/hashing'
import {
  checkpointLeaf,
  cosine,
  exp2n,
  gumbel,
  log2q,
  mulrs,
  Oracle,
  philox,
  type RunRequest,
  type RunResult,
  rs,
  rsqrt,
  SAT,
  sigmoid,
  sine,
} from '@apus/shared/machine'
import { quantize } from '../../../shared/src/machine/quantizer.ts'
import { rowOf } from '../../../shared/src/machine/rows.ts'
import { noiseKey } from '../../../shared/src/machine/sampler.ts'
import { samplerSettings } from '../../../shared/src/protocol/sampler.ts'
import { type Random, seededRandom } from '../random.ts'
import { AWKWARD_SHAPES, type ModelShape, randomBundle } from './random-model.ts'

const CASES = 60

/** 0 ≤ n < 2^bits, of any size, ends and neighbours of powers of two among them. */
function anySize(random: Random, bits: number): number {
  const power = 2 ** random.below(bits + 1)
  const n = random.below(3) === 0 ? power + random.below(3) - 1 : Math.floor(random.unit() * power)
  return Math.min(Math.max(n, 0), 2 ** bits - 1)
}

const anySign = (random: Random, n: number): number => (random.below(2) === 0 || n === 0 ? n : -n)
export const anyStored = (random: Random): number => anySign(random, Math.min(SAT, anySize(random, 30)))

/** Arguments and results of every scalar function: `[arguments, result]`. */
export function primitiveVectors(): Record<string, unknown[]> {
  const random = seededRandom(1)
  const cases = (make: () => [unknown[], unknown]) => Array.from({ length: CASES }, make)
  const u32 = () => anySize(random, 32)
  return {
    rs: cases(() => {
      const [v, s] = [anySign(random, anySize(random, 52)), random.below(45)]
      return [[v, s], rs(v, s)]
    }),
    mulrs: cases(() => {
      const [a, b, s] = [anyStored(random), anySign(random, anySize(random, 31)), random.below(45)]
      return [[a, b, s], mulrs(a, b, s)]
    }),
    exp2n: cases(() => {
      const d = anySize(random, 31)
      return [[d], exp2n(d)]
    }),
    sigmoid: cases(() => {
      const [g, gate] = [anyStored(random), random.pick([16, 18])]
      return [[g, gate], sigmoid(g, gate)]
    }),
    sineCosine: cases(() => {
      const u = anySize(random, 21)
      return [[u], [sine(u) + 0, cosine(u) + 0]]
    }),
    rsqrt: cases(() => {
      const v = Math.max(1, anySize(random, 50))
      return [[v], rsqrt(v)]
    }),
    log2q: cases(() => {
      const n = Math.max(1, u32())
      return [[n], log2q(n)]
    }),
    philox: cases(() => {
      const [k0, k1, c0, c1] = [u32(), u32(), u32(), u32()]
      return [[k0, k1, c0, c1, 0, 0], philox([k0, k1], [c0, c1, 0, 0])]
    }),
    gumbel: cases(() => {
      const [k0, k1, token, position] = [u32(), u32(), anySize(random, 18), anySize(random, 18)]
      return [[k0, k1, token, position], gumbel([k0, k1], token, position)]
    }),
    quantize: cases(() => {
      const values = Array.from({ length: 1 + random.below(6) }, () => anyStored(random))
      const { q, d, q2 } = quantize(values, 2)
      return [[values], [[...q], [...d], [...(q2 ?? [])]]]
    }),
    row: cases(() => {
      const [values, limit] = [
        Array.from({ length: 8 }, () => anyStored(random)),
        random.pick([2047, 32_640]),
      ]
      const { e, v } = rowOf(Int32Array.from(values), limit)
      return [
        [values, limit],
        [e, [...v]],
      ]
    }),
  }
}

/** Runs that every implementation of the machine must repeat, and what they commit to. */
export interface ModelVector {
  readonly shape: string
  readonly seed: number
  readonly bundle: string
  readonly runs: readonly RunVector[]
}

interface RunVector {
  readonly prompt: readonly number[]
  readonly sampler: RunRequest['sampler']
  readonly noise: readonly [number, number]
  readonly maxTokens: number
  readonly stop: readonly string[]
  readonly tokens: readonly number[]
  readonly flag: number
  readonly checkpointRoot: string
  readonly kvRoot: string
}

export const vectorRequest = (
  run: Pick<RunVector, 'prompt' | 'sampler' | 'noise' | 'maxTokens' | 'stop'>,
): RunRequest => ({
  ...run,
  stop: run.stop.map(text => new Uint8Array(Buffer.from(text))),
})

/** The part of a run's vector that its result decides. */
export const resultVector = (result: RunResult) => ({
  tokens: result.tokens,
  flag: result.stop,
  checkpointRoot: toBase64Url(merkleRoot(result.checkpoints.map(checkpointLeaf))),
  kvRoot: toBase64Url(merkleRoot(result.pageLeaves)),
})

const SAMPLERS = [
  {},
  { temperature: 65_536, topK: 40, topP: 58_982, repeatPenalty: 72_000, seed: 1 },
  { temperature: 40_000, topP: 40_000, frequencyPenalty: 30_000, presencePenalty: -9_000, penaltyWindow: 7 },
  { temperature: 262_144, topK: 1 },
].map(part => samplerSettings.parse(part))

async function runVectors(shape: ModelShape, seed: number, lengths: readonly number[]): Promise<ModelVector> {
  const bundle = randomBundle(shape, seed)
  const oracle = new Oracle(bundle)
  const random = seededRandom(seed)
  const runs: RunVector[] = []
  for (const [i, sampler] of SAMPLERS.entries()) {
    const length = lengths[i % lengths.length]!
    const request = {
      prompt: Array.from({ length }, () => random.below(oracle.manifest.vocab)),
      sampler,
      noise: noiseKey(Buffer.from(`${shape.name} ${i}`)),
      maxTokens: 6,
      stop: i % 2 === 0 ? [] : ['abc', 'dd'],
    }
    const result = await oracle.run(vectorRequest(request), new AbortController().signal)
    runs.push({ ...request, ...resultVector(result) })
  }
  return { shape: shape.name, seed, bundle: bundle.root, runs }
}

/** Prompts of a few tokens; of several pages for some shapes, and up to the context for the cheapest. */
const LENGTHS: Readonly<Record<string, readonly number[]>> = {
  tiny: [1, 511, 64, 150],
  'many heads': [1, 130, 64, 66],
}

/** Runs of one of the awkward shapes. */
export function modelVector(index: number): Promise<ModelVector> {
  const shape = AWKWARD_SHAPES[index]!
  return runVectors(shape, 100 + index, LENGTHS[shape.name] ?? [2, 1, 5])
}
