import { Worker } from 'node:worker_threads'
import { ApusError } from '@apus/shared/kit'
import type { ComputeAnswer, ComputeRequest } from './compute-worker.ts'

/** The worker was ended by its watchdog or died, with all the processes it held. */
export class ComputeLost extends Error {
  /** Whether this request was the one being worked on, rather than one waiting behind it. */
  readonly culprit: boolean

  constructor(reason: string, culprit: boolean) {
    super(reason)
    this.culprit = culprit
  }
}

/** Loading a snapshot of a process that holds hundreds of megabytes, on a busy machine. */
const HOUSEKEEPING_LIMIT_MS = 60_000

interface Underway {
  readonly limitMs: number
  readonly resolve: (answer: ComputeAnswer) => void
  readonly reject: (error: unknown) => void
}

/**
 * A worker thread that holds resident processes and works on one request at a time, in the order they came, under a
 * watchdog. It may be handed the next request before the last one is answered, so that it need not wait for us.
 */
export class ComputeThread {
  readonly #module: string
  readonly #limitMs: number
  #worker: Worker | undefined
  /** What the worker was handed and has not answered; it works on the first. */
  #underway: Underway[] = []
  #watchdog: NodeJS.Timeout | undefined
  /** Grows with every new thread; what was loaded under an older one is gone. */
  generation = 0

  /** `module` is the path of the aos module, `limitMs` how long one message may take. */
  constructor(module: string, limitMs: number) {
    this.#module = module
    this.#limitMs = limitMs
  }

  /** Errors: `ComputeLost` when the thread was lost, `compute-failed` when the request itself failed. */
  request(request: ComputeRequest, generation: number): Promise<ComputeAnswer> {
    return new Promise((resolve, reject) => {
      if (generation !== this.generation) throw new ComputeLost('The compute thread was replaced.', false)
      const evaluating = request.kind === 'evaluate' || request.kind === 'dry-run'
      const limitMs = evaluating ? this.#limitMs : HOUSEKEEPING_LIMIT_MS
      this.#worker ??= this.#start()
      this.#worker.postMessage(request)
      this.#underway.push({ limitMs, resolve, reject })
      if (this.#underway.length === 1) this.#watch()
    })
  }

  async close(): Promise<void> {
    const worker = this.#worker
    this.#worker = undefined
    this.#underway = []
    this.#watch()
    await worker?.terminate()
  }

  #start(): Worker {
    const worker = new Worker(new URL('./compute-worker.ts', import.meta.url), {
      workerData: { module: this.#module },
    })
    let reason = 'without an error'
    worker.on('message', (answer: ComputeAnswer) => {
      if (worker === this.#worker) this.#answered(answer)
    })
    worker.on('error', (error: Error) => {
      reason = error.message
    })
    // Not at the error: answers given before it may arrive after it, but never after the exit.
    worker.on('exit', () => {
      if (worker === this.#worker) this.#lose(`The compute thread died: ${reason}.`)
    })
    worker.unref()
    return worker
  }

  #answered(answer: ComputeAnswer): void {
    const underway = this.#underway.shift()
    this.#watch()
    if (answer.failed === undefined) underway?.resolve(answer)
    else underway?.reject(new ApusError('compute-failed', `The compute thread failed: ${answer.failed}.`))
  }

  #watch(): void {
    clearTimeout(this.#watchdog)
    const limitMs = this.#underway[0]?.limitMs
    if (limitMs === undefined) return
    this.#watchdog = setTimeout(() => this.#lose(`The message ran longer than ${limitMs} ms.`), limitMs)
  }

  #lose(reason: string): void {
    const worker = this.#worker
    const lost = this.#underway
    this.#worker = undefined
    this.#underway = []
    this.#watch()
    this.generation++
    const reject = (): void => {
      for (const [at, underway] of lost.entries()) underway.reject(new ComputeLost(reason, at === 0))
    }
    if (worker) worker.terminate().then(reject, reject)
  }
}
