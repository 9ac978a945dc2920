import { GpuDevice } from './gpu-device.ts'
import { checkKnownAnswers } from './known-answers.ts'

/**
 * The system's graphics device, after it has shown that it computes what the machine means. Errors: `gpu-missing`,
 * `gpu-wrong`, `gpu-error`, `device-lost`, `gpu-out-of-memory`.
 */
export async function openGpu(): Promise<GpuDevice> {
  const gpu = await GpuDevice.open()
  try {
    await checkKnownAnswers(gpu)
    return gpu
  } catch (error) {
    gpu.close()
    throw error
  }
}
