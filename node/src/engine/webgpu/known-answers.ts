import { ApusError } from '@apus/shared/kit'
import { givesKnownAnswers } from '../machine/known-answers.ts'
import { noise } from '../machine/seeded-bundle.ts'
import type { GpuDevice } from './gpu-device.ts'
import { GpuMachine } from './gpu-machine.ts'
import { type PrimitiveCase, primitiveCases, tableCases } from './primitive-cases.ts'
import { tableWords } from './table-words.ts'

/** Enough for every primitive to meet its edges many times; a fraction of a second on any device. */
const CASES = 6800
const SEED = 20_261_121

/**
 * Lets the device compute what the oracle computes as well: each entry of its tables, each primitive at its edges, then two runs of a small
 * model. Errors: `gpu-wrong` when one bit differs, and the device's own.
 */
export async function checkKnownAnswers(gpu: GpuDevice): Promise<void> {
  let drawn = 0
  const draw = (below: number) => Math.floor((noise(SEED, drawn++) / 2 ** 32) * below)
  const cases = [...tableCases(), ...primitiveCases(CASES, draw)]
  const answers = await answerPrimitives(gpu, cases)
  const wrong = cases.find(
    ({ answer }, i) => answer[0] !== answers[2 * i] || answer[1] !== answers[2 * i + 1],
  )
  if (wrong !== undefined) throw wrongAnswer(gpu, `primitive ${wrong.operation} of ${wrong.input.join(', ')}`)

  if (!(await givesKnownAnswers(leaves => GpuMachine.load(gpu, leaves))))
    throw wrongAnswer(gpu, 'the known model')
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
    const pipeline = await gpu.compile('self-test', {})
    const [bytes] = await gpu.run(
      pass => {
        pass.setPipeline(pipeline)
        pass.setBindGroup(0, gpu.bind('self-test', buffers))
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
