import type { Engine } from '../engine.ts'
import { machineEngine } from '../machine/machine-engine.ts'
import { GpuMachine } from './gpu-machine.ts'
import { openGpu } from './open-gpu.ts'

/** The verifiable engine on the system's graphics device. Errors: those of `openGpu`. */
export async function createGpuEngine(): Promise<Engine> {
  const gpu = await openGpu()
  return machineEngine({ load: leaves => GpuMachine.load(gpu, leaves), close: async () => gpu.close() })
}
