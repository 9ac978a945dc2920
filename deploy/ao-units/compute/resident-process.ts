import AoLoader from '@permaweb/ao-loader'
import { type AoEnvironment, type AoMessage, type AoResult, outgoingSchema } from '../ao-message.ts'

/** The memory of one process between two messages: its size and those 64 KiB pages that are not all zero. */
export interface ProcessSnapshot {
  readonly bytes: number
  readonly pages: ReadonlyArray<readonly [index: number, content: Uint8Array]>
}

/** Size of a WebAssembly page in bytes. */
export const PAGE_BYTES = 65_536
const MODULE_FORMAT = 'wasm64-unknown-emscripten-draft_2024_02_15'
/** Not enforced by this module format; the watchdog over the worker is what ends long computations. */
const COMPUTE_LIMIT = 9e12
/** Evaluation time that undoing a failed message may have to repeat, in scans of the memory; a scan is the price. */
const REPEAT_BUDGET_SCANS = 32
/** Message text kept for repeating, so that large messages do not pile up in memory. */
const REPEAT_BUDGET_BYTES = 1 << 20
const ignore = (): void => undefined
const ZERO_PAGE = Buffer.alloc(PAGE_BYTES)

/** What the module's linker exports, in bytes. */
interface ModuleExports {
  readonly memory: WebAssembly.Memory
  readonly emscripten_stack_get_end: () => bigint
  readonly emscripten_stack_get_current: () => bigint
}

interface Machine {
  readonly handle: (message: AoMessage, environment: AoEnvironment) => Promise<AoResult>
  /** Every page but those of the unused stack, which are more than half and hold nothing that is read again. */
  readonly pages: () => Iterable<readonly [index: number, content: Buffer]>
  readonly bytes: () => number
  readonly grow: (bytes: number) => void
}

/** Thrown text comes from Lua outside every handler; anything else is a trap that leaves the instance unusable. */
class Trap extends Error {}

/** ao-loader replaces these two when it loads a module and again on every call, and leaves them so when the call throws. */
async function keepingGlobals<T>(work: () => Promise<T>): Promise<T> {
  const { random } = Math
  const { log } = console
  try {
    return await work()
  } finally {
    Math.random = random
    console.log = log
  }
}

async function createMachine(module: WebAssembly.Module): Promise<Machine> {
  let instance: WebAssembly.Instance | undefined
  let now = 0
  let resize: ((bytes: bigint) => unknown) | undefined
  const handle = await keepingGlobals(() =>
    AoLoader(
      (imports: WebAssembly.Imports, ready: (instance: WebAssembly.Instance) => void) => {
        const functions = imports.env as Record<string, WebAssembly.ImportValue>
        // Lua seeds its string hashes from the clock; a fixed clock makes repeated evaluation give the same bytes.
        functions.emscripten_date_now = () => now
        resize = functions.emscripten_resize_heap as (bytes: bigint) => unknown
        WebAssembly.instantiate(module, imports).then(made => {
          instance = made
          ready(made)
        })
        return {}
      },
      {
        format: MODULE_FORMAT,
        computeLimit: COMPUTE_LIMIT,
        memoryLimit: '1-gb',
        UNSAFE_MEMORY: true,
        print: ignore,
        printErr: ignore,
      },
    ),
  )
  const { memory, emscripten_stack_get_end, emscripten_stack_get_current } = (instance?.exports ??
    {}) as Partial<ModuleExports>
  if (!memory || !emscripten_stack_get_end || !emscripten_stack_get_current)
    throw new Error('The module exports no memory or stack.')
  // The stack grows downwards.
  const unusedFrom = Math.ceil(Number(emscripten_stack_get_end()) / PAGE_BYTES)
  const unusedTo = Math.floor(Number(emscripten_stack_get_current()) / PAGE_BYTES)
  return {
    pages: function* () {
      const { buffer } = memory
      for (let index = 0; index < buffer.byteLength / PAGE_BYTES; index++) {
        if (index === unusedFrom) index = unusedTo
        yield [index, Buffer.from(buffer, index * PAGE_BYTES, PAGE_BYTES)]
      }
    },
    bytes: () => memory.buffer.byteLength,
    grow: bytes => {
      if (bytes > memory.buffer.byteLength) resize?.(BigInt(bytes))
    },
    handle: async (message, environment) => {
      now = message.Timestamp
      try {
        return resultOf(await keepingGlobals(() => handle(null, message, environment)))
      } catch (thrown) {
        if (typeof thrown === 'string') return failure(thrown)
        throw new Trap('The process trapped.', { cause: thrown })
      }
    },
  }
}

function resultOf(raw: Awaited<ReturnType<Awaited<ReturnType<typeof AoLoader>>>>): AoResult {
  if (raw.Error) return failure(typeof raw.Error === 'string' ? raw.Error : JSON.stringify(raw.Error))
  const outgoing = outgoingSchema.safeParse(raw)
  if (!outgoing.success) return failure('The process returned messages of a wrong shape.')
  return { Output: raw.Output ?? '', ...outgoing.data }
}

/** Time this thread has worked; unlike the clock it does not count what other programs take. */
export function threadCpuMs(): number {
  const { user, system } = process.threadCpuUsage()
  return (user + system) / 1000
}

/** The result of a message that changed nothing. */
export function failure(error: string): AoResult {
  return {
    Output: '',
    Messages: [],
    Spawns: [],
    Assignments: [],
    Error: error,
  }
}

/**
 * One AO process whose WebAssembly instance stays in memory. A message that fails leaves no trace: the last
 * committed pages are put back and the few messages evaluated since are repeated.
 * Calls must not overlap.
 */
export class ResidentProcess {
  readonly #module: WebAssembly.Module
  readonly #environment: AoEnvironment
  #machine: Machine
  #committed: Map<number, Buffer> | undefined
  #committedBytes = 0
  #since: AoMessage[] = []
  #sinceMs = 0
  #sinceBytes = 0
  #scanMs = 0

  private constructor(module: WebAssembly.Module, environment: AoEnvironment, machine: Machine) {
    this.#module = module
    this.#environment = environment
    this.#machine = machine
  }

  /** A fresh process, or one that continues from a snapshot. */
  static async start(
    module: WebAssembly.Module,
    environment: AoEnvironment,
    snapshot?: ProcessSnapshot,
  ): Promise<ResidentProcess> {
    const started = new ResidentProcess(module, environment, await createMachine(module))
    if (snapshot) {
      started.#committed = new Map(snapshot.pages.map(([index, content]) => [index, Buffer.from(content)]))
      started.#committedBytes = snapshot.bytes
      started.#restorePages()
    }
    return started
  }

  /** Evaluates a message; its effects last unless the result carries an `Error`. */
  async evaluate(message: AoMessage): Promise<AoResult> {
    const began = threadCpuMs()
    const result = await this.#attempt(message)
    if (result.Error !== undefined) return result
    this.#since.push(message)
    this.#sinceMs += threadCpuMs() - began
    this.#sinceBytes += message.Data.length
    const overBudget =
      this.#sinceMs > REPEAT_BUDGET_SCANS * this.#scanMs || this.#sinceBytes > REPEAT_BUDGET_BYTES
    if (overBudget || this.#committed === undefined) this.#commit()
    return result
  }

  /** Evaluates a message and undoes it. */
  async dryRun(message: AoMessage): Promise<AoResult> {
    if (this.#since.length > 0) this.#commit()
    const result = await this.#attempt(message)
    if (result.Error === undefined) await this.#undo()
    return result
  }

  /** The memory as it is now; the pages are shared with this process until its next call. */
  snapshot(): ProcessSnapshot {
    if (this.#since.length > 0) this.#commit()
    const pages = [...(this.#committed ?? [])].filter(([, content]) => !content.equals(ZERO_PAGE))
    return { bytes: this.#committedBytes, pages }
  }

  async #attempt(message: AoMessage): Promise<AoResult> {
    let result: AoResult
    try {
      result = await this.#machine.handle(message, this.#environment)
    } catch (error) {
      if (!(error instanceof Trap)) throw error
      this.#machine = await createMachine(this.#module)
      result = failure(`The process trapped: ${String((error.cause as Error)?.message ?? error.cause)}`)
    }
    if (result.Error !== undefined) await this.#undo()
    return result
  }

  async #undo(): Promise<void> {
    if (this.#committed === undefined) this.#machine = await createMachine(this.#module)
    else this.#restorePages()
    for (const message of this.#since) await this.#machine.handle(message, this.#environment)
    if (this.#since.length > 0) this.#commit()
  }

  #commit(): void {
    const began = threadCpuMs()
    const committed = this.#committed ?? new Map<number, Buffer>()
    for (const [index, page] of this.#machine.pages()) {
      const before = committed.get(index)
      if (page.equals(before ?? ZERO_PAGE)) continue
      if (before) page.copy(before)
      else committed.set(index, Buffer.from(page))
    }
    this.#committed = committed
    this.#committedBytes = this.#machine.bytes()
    this.#since = []
    this.#sinceMs = 0
    this.#sinceBytes = 0
    this.#scanMs = threadCpuMs() - began
  }

  #restorePages(): void {
    this.#machine.grow(this.#committedBytes)
    for (const [index, page] of this.#machine.pages()) {
      const wanted = this.#committed?.get(index) ?? ZERO_PAGE
      if (!page.equals(wanted)) wanted.copy(page)
    }
  }
}
