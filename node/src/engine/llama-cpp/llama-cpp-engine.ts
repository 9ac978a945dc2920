import { ApusError, oneLine } from '@apus/shared/kit'
import { getLlama, InsufficientMemoryError, type Llama } from 'node-llama-cpp'
import type { Engine } from '../engine.ts'
import { buildClass } from './build-class.ts'
import { loadLlamaModel } from './llama-cpp-model.ts'

/**
 * llama.cpp on the CPU, pinned so that one build on one instruction set gives one result: one thread, no flash
 * attention, fixed batches, one sequence. Never builds or downloads. Errors: `engine-unavailable`.
 */
export async function createLlamaCppEngine(): Promise<Engine> {
  let lastError = ''
  let llama: Llama
  try {
    llama = await getLlama({
      build: 'never',
      skipDownload: true,
      gpu: false,
      maxThreads: 0,
      progressLogs: false,
      logger: (level, message) => {
        if (level === 'error' || level === 'fatal') lastError = oneLine(message)
      },
    })
  } catch (cause) {
    throw new ApusError('engine-unavailable', 'There is no llama.cpp build for this machine.', { cause })
  }
  return {
    class: buildClass(llama.llamaCppRelease.release, llama.systemInfo),
    verifiable: false,
    async load(path, signal) {
      lastError = ''
      try {
        return await loadLlamaModel(llama, path, signal)
      } catch (cause) {
        if (cause instanceof ApusError) throw cause
        if (signal?.aborted)
          throw new ApusError('aborted', 'Loading the model was stopped.', { retry: true, cause })
        if (cause instanceof InsufficientMemoryError)
          throw new ApusError('out-of-memory', 'The model does not fit into the memory of this machine.', {
            cause,
          })
        throw new ApusError(
          'model-unsupported',
          `llama.cpp refuses the model: ${lastError || 'no reason given'}.`,
          {
            cause,
          },
        )
      }
    },
    close: () => llama.dispose(),
  }
}
