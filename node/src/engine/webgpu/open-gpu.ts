import type { MachineDevice } from '../machine/machine-engine.ts'
import { GpuDevice } from './gpu-device.ts'
import { GpuMachine, type GpuMachineOptions } from './gpu-machine.ts'
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

/** The machine on the system's graphics device, for the verifiable engine. Errors: those of `openGpu`. */
export async function openGpuMachine(options: GpuMachineOptions = {}): Promise<MachineDevice> {
  const gpu = await openGpu()
  return {
    load: leaves => GpuMachine.load(gpu, leaves, options),
    close: async () => gpu.close(),
  }
}
