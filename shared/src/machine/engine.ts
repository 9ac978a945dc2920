import { type SamplerSettings, samplerSettings } from '../protocol/sampler.ts'
import type { Manifest } from './manifest.ts'
import type { NoiseKey } from './sampler.ts'
import type { StopFlag } from './stop.ts'

/** One run of a job on the machine. */
export interface RunRequest {
  /** 1 to context tokens. */
  readonly prompt: readonly number[]
  readonly sampler: SamplerSettings
  readonly noise: NoiseKey
  /** At least 1. */
  readonly maxTokens: number
  /** UTF-8 of the job's stop strings. */
  readonly stop: readonly Uint8Array[]
}

/** A run that feeds these tokens and chooses one more. */
export const feeding = (tokens: readonly number[]): RunRequest => ({
  prompt: tokens,
  sampler: samplerSettings.parse({}),
  noise: [0, 0],
  maxTokens: 1,
  stop: [],
})

/** What a run commits to, and enough to answer for it. */
export interface RunResult {
  readonly tokens: readonly number[]
  readonly stop: StopFlag
  /** Checkpoint leaves' bytes, one a chosen token. */
  readonly checkpoints: readonly Uint8Array[]
  /** Leaf hashes of the K/V pages in their order. */
  readonly pageLeaves: readonly Uint8Array[]
}

/**
 * A machine with a model in it. Every implementation gives the oracle's bytes or fails: `prompt-too-long`,
 * `token-unknown`, `aborted`, and of a device `gpu-error`, `device-lost`, `gpu-out-of-memory`.
 */
export interface MachineEngine {
  readonly manifest: Manifest
  /** Runs may be asked for together; how many go on at a time is the engine's affair. */
  run(
    request: RunRequest,
    signal: AbortSignal,
    onToken?: (token: number, index: number) => void,
  ): Promise<RunResult>
  /** Bytes of the K/V pages after these tokens were fed, in the order of the K/V tree; rows not written are zero. */
  pages?(tokens: readonly number[], signal: AbortSignal): Promise<readonly Uint8Array[]>
  close(): Promise<void>
}
