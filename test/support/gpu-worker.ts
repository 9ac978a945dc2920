// One software GPU in a process of its own, because the Vulkan loader reads its driver's name at start only.
import { GpuDevice } from '../../node/src/engine/webgpu/gpu-device.ts'
import { GpuMachine } from '../../node/src/engine/webgpu/gpu-machine.ts'
import { answerPrimitives, checkKnownAnswers } from '../../node/src/engine/webgpu/known-answers.ts'
import type { GpuJob, GpuReply } from './gpu.ts'

let device: Promise<GpuDevice> | undefined

async function work(job: GpuJob): Promise<unknown> {
  device ??= GpuDevice.open()
  const gpu = await device
  switch (job.kind) {
    case 'info':
      return gpu.info
    case 'known-answers':
      return checkKnownAnswers(gpu)
    case 'primitives':
      return answerPrimitives(gpu, job.cases)
    case 'runs': {
      const machine = await GpuMachine.load(gpu, job.leaves.entries(), job.options)
      const { signal } = new AbortController()
      try {
        return await Promise.all(job.requests.map(request => machine.run(request, signal)))
      } finally {
        await machine.close()
      }
    }
    case 'bad-kernel':
      // A dispatch without a pipeline: what a driver refuses must be an error, never zeros.
      return gpu.run(pass => pass.dispatchWorkgroups(1))
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
