import { type ChildProcess, fork } from 'node:child_process'
import { seededRandom } from '../support/random.ts'

/** What a runner is started with, as JSON in its first argument. */
export interface RunnerOrder {
  /** A bundle's folder or a GGUF file. */
  readonly path: string
  /** Prompt tokens of the prefill measurement. */
  readonly prompt: number
  /** Tokens of the decode measurement, and how many of them in a row are timed together: the fastest such row counts. */
  readonly tokens: number
  readonly row: number
}

/** One turn of a runner: tokens per second, processor milliseconds per decoded token, megabytes. */
export interface Turn {
  readonly decode: number
  readonly prefill: number
  readonly cpuMs: number
  readonly peakMb: number
}

/** Prompt of the decode measurement: short, so that the tokens decoded are what is measured. */
export const SHORT_PROMPT = 8

/** Ordinary tokens of a vocabulary. */
export function promptOf(length: number, vocabulary: number): number[] {
  const random = seededRandom(length)
  return Array.from({ length }, () => 300 + random.below(vocabulary - 300))
}

/** Times and processor time at each decoded token. */
export class Stopwatch {
  readonly #row: number
  readonly #times: number[] = []
  #cpu = process.cpuUsage()

  constructor(row: number) {
    this.#row = row
  }

  /** Called at every token; the first one is where timing begins. */
  token(): void {
    if (this.#times.push(performance.now()) === 1) this.#cpu = process.cpuUsage()
  }

  get firstAt(): number {
    return this.#times[0] ?? Number.NaN
  }

  /** Tokens per second of the fastest row. */
  get fastest(): number {
    const ends = this.#times.slice(this.#row)
    return Math.max(...ends.map((end, i) => (this.#row * 1000) / (end - (this.#times[i] ?? 0))))
  }

  /** Processor time per token of all threads since the first token. */
  get cpuMs(): number {
    const { user, system } = process.cpuUsage(this.#cpu)
    return (user + system) / 1000 / (this.#times.length - 1)
  }
}

/** A runner's side: takes a turn whenever it is told to. */
export function takeTurns<T>(turn: () => Promise<T>): void {
  process.on('message', async () => {
    process.send?.(await turn())
  })
  process.send?.('ready')
}

/** A runner as a process of its own. */
export class Runner<T> {
  readonly #child: ChildProcess

  private constructor(child: ChildProcess) {
    this.#child = child
  }

  static async start<T>(file: string, order: RunnerOrder): Promise<Runner<T>> {
    const child = fork(new URL(file, import.meta.url), [JSON.stringify(order)], {
      stdio: ['ignore', 'ignore', 'inherit', 'ipc'],
    })
    const runner = new Runner<T>(child)
    await runner.#heard()
    return runner
  }

  turn(): Promise<T> {
    this.#child.send('turn')
    return this.#heard() as Promise<T>
  }

  end(): void {
    this.#child.kill()
  }

  /** The child's next message. Errors when it ends first. */
  #heard(): Promise<unknown> {
    return new Promise((resolve, reject) => {
      const ended = (code: number | null): void => {
        this.#child.off('message', spoke)
        reject(new Error(`a runner ended with ${code}`))
      }
      const spoke = (message: unknown): void => {
        this.#child.off('exit', ended)
        resolve(message)
      }
      this.#child.once('message', spoke).once('exit', ended)
    })
  }
}
