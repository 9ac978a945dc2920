import { availableParallelism } from 'node:os'
import { ApusError } from '@apus/shared/kit'
import type { Engine } from '../engine.ts'
import { givesKnownAnswers } from '../machine/known-answers.ts'
import { machineEngine } from '../machine/machine-engine.ts'
import { CpuMachine, type CpuOptions } from './cpu-machine.ts'

/** More threads than this wait for memory, not for each other's work. */
const MOST_THREADS = 8

/** Threads that leave one processor to the rest of the miner. */
export const usualThreads = (): number => Math.max(1, Math.min(MOST_THREADS, availableParallelism() - 1))

/**
 * The verifiable engine on the processor. Before its first model it shows that this processor and JavaScript engine compute what
 * the machine means. Errors of `load` besides those of bundles: `cpu-wrong`, `cpu-unsupported`.
 */
export function createCpuEngine(options: Partial<CpuOptions> = {}): Engine {
  const settings = { threads: usualThreads(), ...options }
  let checked: Promise<void> | undefined
  return machineEngine({
    async load(leaves) {
      checked ??= checkCpu(settings.threads)
      await checked
      return CpuMachine.load(leaves, settings)
    },
    close: async () => {},
  })
}

/** Errors: `cpu-wrong` when one bit differs from the oracle, `cpu-unsupported`. */
export async function checkCpu(threads: number): Promise<void> {
  const load = (leaves: Parameters<typeof CpuMachine.load>[0]) => CpuMachine.load(leaves, { threads })
  if (await givesKnownAnswers(load).catch(asUnsupported)) return
  throw new ApusError(
    'cpu-wrong',
    'This processor or JavaScript engine computes the known model wrongly; run a released version of Node.',
  )
}

/** Here and not where the kernels are compiled: that file is loaded by every thread, and so stands alone. */
function asUnsupported(cause: unknown): never {
  if (!(cause instanceof WebAssembly.CompileError)) throw cause
  throw new ApusError(
    'cpu-unsupported',
    'This processor is too old for WebAssembly with SIMD, which needs SSE4.1 at least.',
    { cause },
  )
}
