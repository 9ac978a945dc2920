import { type ChildProcess, fork } from 'node:child_process'
import { join } from 'node:path'
import type { RunRequest, RunResult } from '@apus/shared/machine'
import { ensureSoftwareGpus } from '../../deploy/setup/software-gpu.mjs'
import type { GpuInfo } from '../../node/src/engine/webgpu/adapter-info.ts'
import type { GpuMachineOptions } from '../../node/src/engine/webgpu/gpu-machine.ts'
import type { PrimitiveCase } from '../../node/src/engine/webgpu/primitive-cases.ts'
import type { Outcome } from './machine/churn.ts'

export type GpuJob =
  | { readonly kind: 'info' | 'known-answers' | 'wrong-answers' | 'bad-kernel' | 'lose' | 'close' }
  | { readonly kind: 'pages'; readonly leaves: readonly Uint8Array[]; readonly tokens: readonly number[] }
  | { readonly kind: 'relay'; readonly leaves: readonly Uint8Array[]; readonly request: RunRequest }
  | {
      readonly kind: 'churn'
      readonly leaves: readonly Uint8Array[]
      readonly requests: readonly RunRequest[]
      readonly times: number
      readonly options: GpuMachineOptions
    }
  | { readonly kind: 'primitives'; readonly cases: readonly PrimitiveCase[] }
  | {
      readonly kind: 'runs'
      readonly leaves: readonly Uint8Array[]
      readonly requests: readonly RunRequest[]
      readonly options: GpuMachineOptions
    }

export type GpuReply =
  | { readonly value: unknown }
  | { readonly failure: string; readonly code?: string | undefined }

const CACHE = join(import.meta.dirname, '..', '..', '.cache', 'gpu')
const DRIVERS = ['lavapipe', 'swiftshader'] as const

export interface Driver {
  readonly name: (typeof DRIVERS)[number]
  /** Why it is not here, or undefined when it is. */
  readonly missing: string | undefined
  readonly env: Readonly<Record<string, string>>
}

/** Both software GPUs, fetched when this machine allows it; one that cannot be had says why. */
export async function softwareGpus(): Promise<readonly Driver[]> {
  const { gpus, missing = 'the software GPU was not found' } = await ensureSoftwareGpus(CACHE)
  return DRIVERS.map(name => {
    const gpu = gpus.find(candidate => candidate.name === name)
    return { name, missing: gpu === undefined ? missing : undefined, env: gpu?.env ?? {} }
  })
}

/** A software GPU at work in a child process. */
export class GpuProcess {
  readonly #child: ChildProcess
  #log = ''

  constructor(driver: Driver) {
    this.#child = fork(join(import.meta.dirname, 'gpu-worker.ts'), {
      env: { ...process.env, ...driver.env },
      serialization: 'advanced',
      silent: true,
      execArgv: [],
    })
    this.#child.stderr?.on('data', chunk => {
      this.#log = (this.#log + chunk).slice(-2000)
    })
  }

  info = (): Promise<GpuInfo> => this.#ask({ kind: 'info' }) as Promise<GpuInfo>
  knownAnswers = (): Promise<unknown> => this.#ask({ kind: 'known-answers' })
  wrongAnswers = (): Promise<unknown> => this.#ask({ kind: 'wrong-answers' })
  lose = (): Promise<unknown> => this.#ask({ kind: 'lose' })
  badKernel = (): Promise<unknown> => this.#ask({ kind: 'bad-kernel' })
  primitives = (cases: readonly PrimitiveCase[]): Promise<Uint32Array> =>
    this.#ask({ kind: 'primitives', cases }) as Promise<Uint32Array>
  runs = (
    leaves: readonly Uint8Array[],
    requests: readonly RunRequest[],
    options: GpuMachineOptions = {},
  ): Promise<RunResult[]> => this.#ask({ kind: 'runs', leaves, requests, options }) as Promise<RunResult[]>

  pages = (leaves: readonly Uint8Array[], tokens: readonly number[]): Promise<Uint8Array[]> =>
    this.#ask({ kind: 'pages', leaves, tokens }) as Promise<Uint8Array[]>

  relay = (leaves: readonly Uint8Array[], request: RunRequest): Promise<RunResult[]> =>
    this.#ask({ kind: 'relay', leaves, request }) as Promise<RunResult[]>

  churn = (
    leaves: readonly Uint8Array[],
    requests: readonly RunRequest[],
    times: number,
    options: GpuMachineOptions,
  ): Promise<Outcome[]> =>
    this.#ask({ kind: 'churn', leaves, requests, times, options }) as Promise<Outcome[]>

  async close(): Promise<void> {
    if (this.#child.exitCode !== null) return
    const exit = new Promise(resolve => this.#child.once('exit', resolve))
    this.#child.send({ kind: 'close' } satisfies GpuJob)
    await exit
  }

  #ask(job: GpuJob): Promise<unknown> {
    return new Promise((resolve, reject) => {
      const gone = () => reject(new Error(`The GPU process ended: ${this.#log}`))
      this.#child.once('exit', gone)
      this.#child.once('message', (reply: GpuReply) => {
        this.#child.off('exit', gone)
        if ('value' in reply) resolve(reply.value)
        else reject(Object.assign(new Error(reply.failure), { code: reply.code }))
      })
      this.#child.send(job)
    })
  }
}
