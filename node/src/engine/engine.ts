import type { RunLeaves } from '@apus/shared/machine'
import type { PromptFormat, SamplerSettings } from '@apus/shared/protocol'
import type { Replay } from '@apus/shared/replay'

/** A way to run models. Nodes of one `class` produce equal bytes for equal requests. */
export interface Engine {
  /** `apus-machine-1`, or `llama.cpp/<release>/<instructions>-<digest>` for results that nobody can prove. */
  readonly class: string
  /** True only for the integer machine, the one class whose faults the contract can recompute. */
  readonly verifiable: boolean
  /**
   * Loads a model from its place on disk (a bundle's folder or a GGUF file) and checks it.
   * Errors: `gguf-…` or `bundle-…` for a bad file, `model-unsupported`, `out-of-memory`, `aborted`.
   */
  load(path: string, signal?: AbortSignal): Promise<LoadedModel>
  close(): Promise<void>
}

interface ModelInfo {
  /** What the network lists: the bundle root, or the SHA-256 of a GGUF file; base64url. */
  readonly id: string
  readonly name: string
  /** Positions the model can hold, prompt and answer together. */
  readonly context: number
  /** Number of token ids. */
  readonly vocabulary: number
}

export interface LoadedModel {
  readonly info: ModelInfo
  /** Frames a prompt as its format asks and cuts it into token ids. Errors: `prompt-invalid`. */
  tokenize(prompt: string, format: PromptFormat): readonly number[]
  /**
   * Runs one job; runs of one model may be queued behind each other. Errors: `prompt-invalid`, `prompt-too-long`,
   * `aborted` when the signal fires, `engine-failed` when the device cannot be trusted to have computed.
   */
  generate(
    request: GenerationRequest,
    signal: AbortSignal,
    onToken?: (token: ChosenToken) => void,
  ): Promise<Generation>
  /**
   * Runs a job again to answer for every step of it: what a dispute is about. Only models whose faults can be proven
   * have it, and only what they computed depends on, never what this node remembers. With `tokens` the run of one who
   * reads these behind the prompt, whatever would have been chosen. Errors: those of `generate`.
   */
  replay?(request: GenerationRequest, signal: AbortSignal, tokens?: readonly number[]): Promise<Replay>
  close(): Promise<void>
}

export interface GenerationRequest {
  readonly promptTokens: readonly number[]
  readonly sampler: SamplerSettings
  /** At least 1. */
  readonly maxTokens: number
  /** Strings that end the answer; the model's own end tokens always do. */
  readonly stop: readonly string[]
  /** The job id: it keys the noise of sampling, so that no miner can choose its luck. */
  readonly jobKey: string
}

export interface ChosenToken {
  readonly index: number
  readonly token: number
  /** The token's bytes, empty for control tokens; a character may be spread over several tokens. */
  readonly piece: Uint8Array
}

export interface Generation {
  /** Chosen tokens in order, the one that stopped the answer included. */
  readonly tokens: readonly number[]
  readonly pieces: readonly Uint8Array[]
  /** The pieces as text, cut before the stop string. */
  readonly text: string
  /** `length` when `maxTokens` or the context ended it. */
  readonly finish: 'stop' | 'length'
  /** Merkle roots, base64url, as a result commits to them. */
  readonly checkpointRoot: string
  readonly kvRoot: string
  readonly answerRoot: string
  /** The leaves under those roots, of models whose faults can be proven. */
  readonly leaves?: RunLeaves
}
