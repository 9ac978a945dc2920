// One software GPU in a process of its own, because the Vulkan loader reads its driver's name at start only.
import { GpuDevice } from '../../node/src/engine/webgpu/gpu-device.ts'
import { GpuMachine, type GpuMachineOptions } from '../../node/src/engine/webgpu/gpu-machine.ts'
import { answerPrimitives, checkKnownAnswers } from '../../node/src/engine/webgpu/known-answers.ts'
import type { GpuJob, GpuReply } from './gpu.ts'
import { churn } from './machine/churn.ts'
import { relay } from './machine/relay.ts'

let device: Promise<GpuDevice> | undefined
/** The device below ours, for what only a driver or a card can do to it. */
let raw: GPUDevice | undefined

function watchRequests(): void {
  const { requestDevice } = GPUAdapter.prototype
  GPUAdapter.prototype.requestDevice = async function (...wanted) {
    raw = await requestDevice.apply(this, wanted)
    return raw
  }
}

async function onMachine<T>(
  gpu: GpuDevice,
  leaves: readonly Uint8Array[],
  options: GpuMachineOptions,
  use: (machine: GpuMachine) => Promise<T>,
): Promise<T> {
  const machine = await GpuMachine.load(gpu, leaves.entries(), options)
  try {
    return await use(machine)
  } finally {
    await machine.close()
  }
}

async function work(job: GpuJob): Promise<unknown> {
  if (device === undefined) watchRequests()
  device ??= GpuDevice.open()
  const gpu = await device
  switch (job.kind) {
    case 'info':
      return gpu.info
    case 'known-answers':
      return checkKnownAnswers(gpu)
    case 'primitives':
      return answerPrimitives(gpu, job.cases)
    case 'runs':
      return onMachine(gpu, job.leaves, job.options, machine => {
        const { signal } = new AbortController()
        return Promise.all(job.requests.map(request => machine.run(request, signal)))
      })
    case 'relay':
      return onMachine(gpu, job.leaves, {}, machine => relay(machine, job.request))
    case 'churn':
      return onMachine(gpu, job.leaves, job.options, machine => churn(machine, job.requests, job.times))
    case 'pages':
      return onMachine(gpu, job.leaves, {}, machine =>
        machine.pages(job.tokens, new AbortController().signal),
      )
    case 'bad-kernel':
      // A dispatch without a pipeline: what a driver refuses must be an error, never zeros.
      return gpu.run(pass => pass.dispatchWorkgroups(1))
    case 'wrong-answers': {
      // A card with one bad bit in the memory that the tables come to.
      const { writeBuffer } = GPUQueue.prototype
      const flip = function (
        this: GPUQueue,
        buffer: GPUBuffer,
        at: number,
        data: ArrayBuffer,
        ...rest: number[]
      ) {
        const bytes = new Uint8Array(data.slice(0))
        if (buffer.label === 'tables') bytes[401] = (bytes[401] ?? 0) ^ 4
        writeBuffer.call(this, buffer, at, bytes.buffer, ...rest)
      }
      GPUQueue.prototype.writeBuffer = flip as typeof writeBuffer
      try {
        return await checkKnownAnswers(gpu)
      } finally {
        GPUQueue.prototype.writeBuffer = writeBuffer
      }
    }
    case 'lose':
      raw?.destroy()
      return
    case 'close':
      gpu.close()
      process.disconnect()
      return
  }
}

process.on('message', (job: GpuJob) => {
  work(job).then(
    value => process.connected && process.send?.({ value } satisfies GpuReply),
    (error: Error & { code?: string }) =>
      process.send?.({ failure: error.message, code: error.code } satisfies GpuReply),
  )
})
