import { STOP_LOOKBACK } from '../tokenizer/answer.ts'
import { encodeCheckpoint, residualDigest } from './digests.ts'
import type { RunResult } from './engine.ts'
import type { Model } from './model.ts'
import type { RunTerms } from './plan-parts.ts'
import { type Choice, choose } from './sampler.ts'
import { type StopFlag, stopFlag } from './stop.ts'

/**
 * What a run has chosen so far, where that ends it, and what it commits to. An implementation of the machine computes
 * in its own way, and tells its recorder of every token: first `take`, which says whether to go on, then `commit`.
 */
export class RunRecorder {
  readonly #model: Pick<Model, 'manifest' | 'pieces'>
  readonly #terms: Omit<RunTerms, 'manifest' | 'layout'>
  readonly #onToken: (token: number, index: number) => void
  /** Prompt and chosen tokens. */
  readonly #all: number[]
  readonly #checkpoints: Uint8Array[] = []
  #stop: StopFlag = 0

  /** @param tokens the prompt, and of a run that is taken up again what it has chosen */
  constructor(
    model: Pick<Model, 'manifest' | 'pieces'>,
    terms: Omit<RunTerms, 'manifest' | 'layout'>,
    tokens: readonly number[],
    onToken: (token: number, index: number) => void = () => {},
  ) {
    this.#model = model
    this.#terms = terms
    this.#all = [...tokens]
    this.#onToken = onToken
  }

  /** Why the run ended; 0 while it goes on. */
  get stop(): StopFlag {
    return this.#stop
  }

  /** The token that is fed next. */
  get newest(): number {
    return this.#all.at(-1) as number
  }

  /** The position at which it is fed: so many are before it. */
  get position(): number {
    return this.#all.length - 1
  }

  /** The tokens that penalties look back on. */
  get recent(): readonly number[] {
    const { penaltyWindow } = this.#terms.sampler
    return penaltyWindow === 0 ? [] : this.#all.slice(-penaltyWindow)
  }

  /** The token that follows from the logits of the newest one. */
  choose(logits: Int32Array): Choice {
    const { sampler, noise } = this.#terms
    return choose(logits, sampler, this.recent, noise, this.#all.length)
  }

  /** Takes the token that was chosen, and says whether the run ends with it. */
  take(token: number): StopFlag {
    const { manifest, pieces } = this.#model
    const { promptLength, maxTokens, stop: strings } = this.#terms
    this.#all.push(token)
    const rules = { tokens: manifest.stop, strings, maximum: maxTokens, context: manifest.context }
    const last = this.#all.slice(Math.max(promptLength, this.#all.length - STOP_LOOKBACK))
    const lastPieces = last.map(t => pieces[t] as Uint8Array)
    this.#stop = stopFlag(rules, token, this.#index, promptLength, lastPieces)
    return this.#stop
  }

  /**
   * Commits to the token that was taken, and tells of it.
   * @param xFinal the residual from which it was chosen; without it nothing is committed to
   */
  commit(xFinal: Int32Array | undefined): void {
    if (xFinal) {
      const leaf = encodeCheckpoint(this.#index, this.newest, this.#stop, residualDigest(xFinal))
      this.#checkpoints.push(leaf)
    }
    this.#onToken(this.newest, this.#index)
  }

  /** What the run commits to, once it has ended. */
  result(pageLeaves: readonly Uint8Array[]): RunResult {
    const tokens = this.#all.slice(this.#terms.promptLength)
    return { tokens, stop: this.#stop, checkpoints: this.#checkpoints, pageLeaves }
  }

  /** Number of the newest token among the chosen ones. */
  get #index(): number {
    return this.position - this.#terms.promptLength
  }
}
