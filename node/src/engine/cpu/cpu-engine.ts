import { availableParallelism } from 'node:os'
import type { Engine } from '../engine.ts'
import { machineEngine } from '../machine/machine-engine.ts'
import { CpuMachine, type CpuOptions } from './cpu-machine.ts'

/** More threads than this wait for memory, not for each other's work. */
const MOST_THREADS = 8

/** Threads that leave one processor to the rest of the miner. */
const usualThreads = (): number => Math.max(1, Math.min(MOST_THREADS, availableParallelism() - 1))

/** The verifiable engine on the processor. */
export const createCpuEngine = (options: Partial<CpuOptions> = {}): Engine =>
  machineEngine({
    load: leaves => CpuMachine.load(leaves, { threads: usualThreads(), ...options }),
    close: async () => {},
  })
