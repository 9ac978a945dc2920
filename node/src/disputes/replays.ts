import { ApusError } from '@apus/shared/kit'
import { promptTokensRoot } from '@apus/shared/machine'
import { type JobView, tokenDigest } from '@apus/shared/protocol'
import type { Replay } from '@apus/shared/replay'
import type { PromptSource, ServedModels } from '../work/ports.ts'
import { findPrompt } from '../work/prompt.ts'

/** Re-runs kept; each holds the cache of a sequence, and few jobs are disputed at a time. */
const KEPT = 4

/** Jobs of this node's models run again, for disputes. A re-run needs the job, its prompt and the model, nothing else. */
export class Replays {
  readonly #models: ServedModels
  readonly #prompts: PromptSource
  readonly #kept = new Map<string, Promise<Replay>>()

  constructor(models: ServedModels, prompts: PromptSource) {
    this.#models = models
    this.#prompts = prompts
  }

  can(job: JobView): boolean {
    const served = this.#models.get(job.model)
    return served?.class === job.class && served.model.replay !== undefined
  }

  /**
   * The run of the job, to answer for; with `tokens` one that reads what an accused seat has revealed. They are kept
   * apart, so that answers never wait for accusations. Errors: `prompt-unavailable`, `prompt-mismatch`,
   * `model-not-served`, those of the engine.
   */
  async of(job: JobView, signal: AbortSignal, tokens?: readonly number[]): Promise<Replay> {
    const key = `${job.id} ${tokens ? tokenDigest(tokens) : 'own'}`
    const known = this.#kept.get(key)
    if (known !== undefined) return known
    const running = this.#run(job, signal, tokens)
    this.#kept.set(key, running)
    running.catch(() => this.#kept.delete(key))
    for (const id of this.#kept.keys()) {
      if (this.#kept.size <= KEPT) break
      this.#kept.delete(id)
    }
    return running
  }

  async #run(job: JobView, signal: AbortSignal, tokens: readonly number[] | undefined): Promise<Replay> {
    const model = this.#models.get(job.model)?.model
    if (model?.replay === undefined || !this.can(job))
      throw new ApusError('model-not-served', 'This node does not run the model of the job.')
    const prompt = await findPrompt(job, undefined, this.#prompts, signal)
    const promptTokens = model.tokenize(prompt, job.format)
    if (job.promptTokens !== undefined && job.promptTokens !== promptTokensRoot(promptTokens))
      throw new ApusError(
        'prompt-tokens-differ',
        'The prompt does not give the prompt tokens that the job names.',
      )
    const { sampler, maxTokens, stop } = job
    return model.replay({ promptTokens, sampler, maxTokens, stop, jobKey: job.id }, signal, tokens)
  }
}
