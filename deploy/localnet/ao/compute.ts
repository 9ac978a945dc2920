import { Worker } from 'node:worker_threads'
import { ApusError } from '../../../shared/src/kit/errors.ts'
import type { ComputeAnswer, ComputeRequest } from './compute-worker.ts'
import { SerialLane } from './serial-lane.ts'

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

/** A worker thread that holds resident processes and works on one request at a time, under a watchdog. */
export class ComputeThread {
  readonly #module: string
  readonly #limitMs: number
  readonly #lane = new SerialLane()
  #worker: Worker | undefined
  /** Grows with every new thread; what was loaded under an older one is gone. */
  generation = 0

  /** `module` is the path of the aos module, `limitMs` how long one message may take. */
  constructor(module: string, limitMs: number) {
    this.#module = module
    this.#limitMs = limitMs
  }

  /** Errors: `ComputeLost` when the thread was lost, `compute-failed` when the request itself failed. */
  request(request: ComputeRequest, generation: number): Promise<ComputeAnswer> {
    return this.#lane.run(async () => {
      if (generation !== this.generation) throw new ComputeLost('The compute thread was replaced.', false)
      const answer = await this.#perform(request)
      if (answer.failed !== undefined)
        throw new ApusError('compute-failed', `The compute thread failed: ${answer.failed}.`)
      return answer
    })
  }

  async close(): Promise<void> {
    await this.#worker?.terminate()
  }

  #perform(request: ComputeRequest): Promise<ComputeAnswer> {
    this.#worker ??= this.#start()
    const worker = this.#worker
    const evaluating = request.kind === 'evaluate' || request.kind === 'dry-run'
    const limitMs = evaluating ? this.#limitMs : HOUSEKEEPING_LIMIT_MS
    return new Promise((resolve, reject) => {
      const end = (): void => {
        clearTimeout(timer)
        worker.off('message', onMessage)
        worker.off('error', onError)
      }
      const lose = (reason: string): void => {
        end()
        this.#worker = undefined
        this.generation++
        worker.terminate().then(() => reject(new ComputeLost(reason, true)), reject)
      }
      const onMessage = (answer: ComputeAnswer): void => {
        end()
        resolve(answer)
      }
      const onError = (error: Error): void => lose(`The compute thread died: ${error.message}.`)
      const timer = setTimeout(() => lose(`The message ran longer than ${limitMs} ms.`), limitMs)
      worker.on('message', onMessage)
      worker.on('error', onError)
      worker.postMessage(request)
    })
  }

  #start(): Worker {
    const worker = new Worker(new URL('./compute-worker.ts', import.meta.url), {
      workerData: { module: this.#module },
    })
    worker.unref()
    return worker
  }
}
