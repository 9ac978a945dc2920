import { ApusError } from '../kit/errors.ts'
import { pageLeaf } from './digests.ts'
import type { MachineEngine, RunRequest, RunResult } from './engine.ts'
import type { Manifest } from './manifest.ts'
import { type BundleReader, Model } from './model.ts'
import { Page } from './rows.ts'
import { RunRecorder } from './run-recorder.ts'
import { Sequence } from './sequence.ts'
import { PAGE_ROWS } from './sizes.ts'

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
    const { prompt } = request
    const sequence = new Sequence(this.model)
    const run = new RunRecorder(this.model, { ...request, promptLength: prompt.length }, prompt, onToken)
    for (const token of prompt.slice(0, -1)) sequence.feed(token, false)
    while (run.stop === 0) {
      if (signal.aborted) throw new ApusError('aborted', 'The run was stopped.', { retry: true })
      const x = sequence.feed(run.newest, true) as Int32Array
      run.take(run.choose(sequence.logits(x)).token)
      run.commit(x)
    }
    return run.result(pageLeavesOf(sequence))
  }

  async close(): Promise<void> {}
}
