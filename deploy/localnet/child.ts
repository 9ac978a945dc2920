import { type ChildProcess, spawn } from 'node:child_process'
import { createWriteStream, mkdirSync } from 'node:fs'
import { dirname } from 'node:path'
import { createInterface } from 'node:readline'
import { ApusError } from '@apus/shared/kit'

/** A program that has not said it is ready by then never will. */
const READY_TIMEOUT_MS = 120_000
/** Programs stop by themselves on SIGTERM; one that hangs longer is killed. */
const STOP_TIMEOUT_MS = 10_000

export interface Program {
  readonly name: string
  /** A TypeScript file, run by the Node that runs this. */
  readonly script: string
  readonly args: readonly string[]
  readonly env?: Readonly<Record<string, string>>
  /** Where its standard error goes. */
  readonly logFile: string
}

const running = new Set<ChildProcess>()
/** No program outlives the one that started it, however that ends. */
process.once('exit', () => {
  for (const child of running) child.kill('SIGKILL')
})

/** A program of the network as a child process: ready when it prints its first line of JSON. */
export class Child {
  readonly program: Program
  #process: ChildProcess | undefined
  #exited: Promise<void> = Promise.resolve()
  #ready: Readonly<Record<string, unknown>> = {}

  private constructor(program: Program) {
    this.program = program
  }

  /** Starts the program (code `program-failed` when it ends or stays silent instead of becoming ready). */
  static async start(program: Program): Promise<Child> {
    const child = new Child(program)
    await child.restart()
    return child
  }

  /** What the program said when it became ready. */
  get ready(): Readonly<Record<string, unknown>> {
    return this.#ready
  }

  get pid(): number | undefined {
    return this.#process?.pid
  }

  /** Starts it again after it was stopped or killed. */
  async restart(): Promise<void> {
    const { name, script, args, env, logFile } = this.program
    mkdirSync(dirname(logFile), { recursive: true })
    const log = createWriteStream(logFile, { flags: 'a' })
    const child = spawn(process.execPath, [script, ...args], {
      stdio: ['ignore', 'pipe', 'pipe'],
      env: { ...process.env, NODE_NO_WARNINGS: '1', ...env },
    })
    this.#process = child
    running.add(child)
    child.stderr.pipe(log)
    this.#exited = new Promise(resolve => {
      const over = () => {
        running.delete(child)
        resolve()
      }
      child.once('error', over)
      child.once('exit', over)
    })
    const ready = new Promise<Record<string, unknown>>(resolve => {
      createInterface({ input: child.stdout }).on('line', line => {
        const value = readyLine(line)
        if (value) resolve(value)
        else log.write(`${line}\n`)
      })
    })
    const timeout = new Promise<undefined>(resolve =>
      setTimeout(resolve, READY_TIMEOUT_MS, undefined).unref(),
    )
    const said = await Promise.race([ready, this.#exited, timeout])
    if (!said) {
      child.kill('SIGKILL')
      throw new ApusError('program-failed', `${name} did not start; its log is ${logFile}.`)
    }
    this.#ready = said
  }

  async stop(): Promise<void> {
    this.#process?.kill('SIGTERM')
    const timer = setTimeout(() => this.#process?.kill('SIGKILL'), STOP_TIMEOUT_MS)
    await this.#exited
    clearTimeout(timer)
  }

  /** What a power cut does. */
  async crash(): Promise<void> {
    this.#process?.kill('SIGKILL')
    await this.#exited
  }
}

function readyLine(line: string): Record<string, unknown> | undefined {
  if (!line.startsWith('{')) return undefined
  try {
    return JSON.parse(line)
  } catch {
    return undefined
  }
}
