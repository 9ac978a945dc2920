import type { Engine } from '../engine.ts'
import { machineEngine } from '../machine/machine-engine.ts'
import { GpuMachine, type GpuMachineOptions } from './gpu-machine.ts'
import { openGpu } from './open-gpu.ts'

/** The verifiable engine on the system's graphics device, once it gave the known answers. Errors: those of `openGpu`. */
export async function createGpuEngine(options: GpuMachineOptions = {}): Promise<Engine> {
  const gpu = await openGpu()
  return machineEngine({
    load: leaves => GpuMachine.load(gpu, leaves, options),
    close: async () => gpu.close(),
  })
}
