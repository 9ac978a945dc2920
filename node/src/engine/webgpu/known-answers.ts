import { ApusError } from '@apus/shared'
import { type Manifest, Oracle, type RunRequest } from '@apus/shared/machine'
import type { GpuDevice } from './gpu-device.ts'
import { GpuMachine } from './gpu-machine.ts'
import { type PrimitiveCase, primitiveCases } from './primitive-cases.ts'
import { noise, SeededBundle } from './seeded-bundle.ts'
import { tableWords } from './table-words.ts'

/** Enough for every primitive to meet its edges many times; a fraction of a second on any device. */
const CASES = 6800
const SEED = 20_261_121

/** Small, yet with every kernel: two planes and one, groups of heads, a short last block, several tiles. */
const MANIFEST: Manifest = {
  machine: 1,
  name: 'known answers',
  layers: 2,
  width: 72,
  heads: 4,
  kvHeads: 2,
  headSize: 16,
  hidden: 300,
  vocab: 1100,
  context: 128,
  tied: true,
  epsilon: 3_092_376,
  formats: { residual: 16, qk: 16, value: 16, gate: 16, hidden: 14 },
  planes: { qkv: 1, o: 2, gateUp: 1, down: 2, output: 1 },
  stop: [],
  tokenizerBytes: 0,
}

const REQUESTS: readonly RunRequest[] = [0, 52_429].map(temperature => ({
  prompt: Array.from({ length: 67 }, (_, i) => noise(SEED, i) % MANIFEST.vocab),
  sampler: {
    temperature,
    topK: 40,
    topP: 62_259,
    repeatPenalty: 72_090,
    penaltyWindow: 64,
    frequencyPenalty: 655,
    presencePenalty: 1311,
    seed: 0,
  },
  noise: [noise(SEED, 1000), noise(SEED, 1001)],
  maxTokens: 3,
  stop: [],
}))

/**
 * Lets the device compute what the oracle computes as well: each primitive at its edges, then two runs of a small
 * model. Errors: `gpu-wrong` when one bit differs, and the device's own.
 */
export async function checkKnownAnswers(gpu: GpuDevice): Promise<void> {
  let drawn = 0
  const draw = (below: number) => Math.floor((noise(SEED, drawn++) / 2 ** 32) * below)
  const cases = primitiveCases(CASES, draw)
  const answers = await answerPrimitives(gpu, cases)
  const wrong = cases.find(
    ({ answer }, i) => answer[0] !== answers[2 * i] || answer[1] !== answers[2 * i + 1],
  )
  if (wrong !== undefined) throw wrongAnswer(gpu, `primitive ${wrong.operation} of ${wrong.input.join(', ')}`)

  const bundle = new SeededBundle(MANIFEST, SEED)
  const oracle = new Oracle(bundle)
  const machine = await GpuMachine.load(gpu, bundle.leaves())
  const { signal } = new AbortController()
  try {
    const given = await Promise.all(REQUESTS.map(request => machine.run(request, signal)))
    for (const [i, request] of REQUESTS.entries()) {
      const expected = await oracle.run(request, signal)
      if (JSON.stringify(expected) !== JSON.stringify(given[i]))
        throw wrongAnswer(gpu, `run ${i} of the known model`)
    }
  } finally {
    await machine.close()
  }
}

/** Two words per case. */
export async function answerPrimitives(
  gpu: GpuDevice,
  cases: readonly PrimitiveCase[],
): Promise<Uint32Array> {
  const input = Uint32Array.from(cases.flatMap(({ operation, input: words }) => [operation, ...words]))
  const buffers = [
    await gpu.upload('cases', input),
    await gpu.upload('tables', tableWords()),
    await gpu.allocate('answers', cases.length * 8, GPUBufferUsage.STORAGE | GPUBufferUsage.COPY_SRC),
  ] as const
  try {
    const pipeline = await gpu.compile('battery', {})
    const [bytes] = await gpu.run(
      pass => {
        pass.setPipeline(pipeline)
        pass.setBindGroup(0, gpu.bind('battery', buffers))
        pass.dispatchWorkgroups(Math.ceil(cases.length / 64))
      },
      [{ buffer: buffers[2], offset: 0, size: cases.length * 8 }],
    )
    return new Uint32Array((bytes ?? new Uint8Array()).slice().buffer)
  } finally {
    for (const buffer of buffers) buffer.destroy()
  }
}

const wrongAnswer = (gpu: GpuDevice, what: string): ApusError =>
  new ApusError(
    'gpu-wrong',
    `${gpu.info.description || gpu.info.device} computes ${what} wrongly; update its driver or run the CPU engine.`,
  )
