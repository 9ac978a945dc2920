import { ApusError } from '../kit/errors.ts'
import { STOP_LOOKBACK } from '../tokenizer/answer.ts'
import { encodeCheckpoint, pageLeaf, residualDigest } from './digests.ts'
import type { MachineEngine, RunRequest, RunResult } from './engine.ts'
import type { Manifest } from './manifest.ts'
import { type BundleReader, Model } from './model.ts'
import { Page } from './rows.ts'
import { choose } from './sampler.ts'
import { Sequence } from './sequence.ts'
import { PAGE_ROWS } from './sizes.ts'
import { type StopFlag, stopFlag } from './stop.ts'

/** Checks a run request against a model. Errors: `prompt-invalid`, `prompt-too-long`, `token-unknown`. */
export function checkRequest(manifest: Manifest, { prompt, maxTokens }: RunRequest): void {
  if (prompt.length === 0 || !Number.isInteger(maxTokens) || maxTokens < 1) {
    throw new ApusError('prompt-invalid', 'A run needs a prompt token and room for an answer token.')
  }
  if (prompt.length > manifest.context) {
    throw new ApusError(
      'prompt-too-long',
      `The prompt has ${prompt.length} tokens; the model holds ${manifest.context}.`,
    )
  }
  const unknown = prompt.find(token => !Number.isInteger(token) || token < 0 || token >= manifest.vocab)
  if (unknown !== undefined) throw new ApusError('token-unknown', `The model has no token ${unknown}.`)
}

/** The window that penalties look back on: the last tokens of prompt and answer. */
export const recentTokens = (tokens: readonly number[], window: number): readonly number[] =>
  window === 0 ? [] : tokens.slice(-window)

/** Leaf hashes of all K/V pages that hold `positions` rows, in the order of the K/V tree. */
export function pageLeavesOf(sequence: Sequence): Uint8Array[] {
  const { layers, kvHeads, headSize } = sequence.model.manifest
  const leaves: Uint8Array[] = []
  for (let page = 0; page < Math.ceil(sequence.position / PAGE_ROWS); page++) {
    for (let layer = 0; layer < layers; layer++) {
      for (let head = 0; head < kvHeads; head++) {
        for (const kind of [0, 1] as const) {
          const written = sequence.page(page, layer, head, kind) ?? new Page(headSize)
          leaves.push(pageLeaf(written.encode()))
        }
      }
    }
  }
  return leaves
}

/** The plain implementation of the machine: what the others are measured against. */
export class Oracle implements MachineEngine {
  readonly model: Model

  constructor(bundle: BundleReader) {
    this.model = new Model(bundle)
  }

  get manifest(): Manifest {
    return this.model.manifest
  }

  async run(
    request: RunRequest,
    signal: AbortSignal,
    onToken?: (token: number, index: number) => void,
  ): Promise<RunResult> {
    checkRequest(this.manifest, request)
    const { prompt, sampler, noise } = request
    const sequence = new Sequence(this.model)
    const tokens: number[] = []
    const checkpoints: Uint8Array[] = []
    const rules = {
      tokens: this.manifest.stop,
      strings: request.stop,
      maximum: request.maxTokens,
      context: this.manifest.context,
    }
    for (const token of prompt.slice(0, -1)) sequence.feed(token, false)
    let next = prompt.at(-1) as number
    for (let stop: StopFlag = 0; stop === 0; ) {
      if (signal.aborted) throw new ApusError('aborted', 'The run was stopped.', { retry: true })
      const x = sequence.feed(next, true) as Int32Array
      const recent = recentTokens([...prompt, ...tokens], sampler.penaltyWindow)
      const { token } = choose(sequence.logits(x), sampler, recent, noise, sequence.position)
      const n = tokens.push(token) - 1
      const pieces = tokens.slice(-STOP_LOOKBACK).map(t => this.model.pieces[t] as Uint8Array)
      stop = stopFlag(rules, token, n, prompt.length, pieces)
      checkpoints.push(encodeCheckpoint(n, token, stop, residualDigest(x)))
      onToken?.(token, n)
      next = token
      if (stop !== 0) return { tokens, stop, checkpoints, pageLeaves: pageLeavesOf(sequence) }
    }
    throw new RangeError('a run ends with a stop flag')
  }

  async close(): Promise<void> {}
}
