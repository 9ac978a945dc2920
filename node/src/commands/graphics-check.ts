import { fork } from 'node:child_process'
import { ApusError, errorCode } from '@apus/shared/kit'
import type { GpuInfo } from '../engine/webgpu/adapter-info.ts'

/** What a graphics device says of itself, sizes in bytes. */
export interface Graphics extends GpuInfo {
  readonly largestBuffer: number
  readonly largestBinding: number
}

type Answer = { readonly graphics: Graphics } | { readonly code: string; readonly message: string }

/**
 * Opens the graphics device and lets it give the known answers, in a process of its own: a driver may write to the terminal, or
 * crash. Errors: those of the device, `gpu-crashed`.
 */
export function checkGraphicsDevice(): Promise<Graphics> {
  return new Promise((resolve, reject) => {
    const child = fork(import.meta.filename, { stdio: ['ignore', 'ignore', 'ignore', 'ipc'] })
    child.once('message', (answer: Answer) => {
      if ('graphics' in answer) resolve(answer.graphics)
      else reject(new ApusError(answer.code, answer.message))
    })
    child.once('error', reject)
    child.once('exit', (code, signal) =>
      reject(new ApusError('gpu-crashed', `The graphics driver ended its process (${signal ?? code}).`)),
    )
  })
}

async function answer(): Promise<Answer> {
  try {
    const { openGpu } = await import('../engine/webgpu/open-gpu.ts')
    const gpu = await openGpu()
    const { maxBufferSize, maxStorageBufferBindingSize } = gpu.limits
    gpu.close()
    return {
      graphics: { ...gpu.info, largestBuffer: maxBufferSize, largestBinding: maxStorageBufferBindingSize },
    }
  } catch (error) {
    const message = error instanceof Error ? error.message : String(error)
    return { code: errorCode(error) ?? 'gpu-error', message }
  }
}

if (process.argv[1] === import.meta.filename) process.send?.(await answer(), () => process.exit())
