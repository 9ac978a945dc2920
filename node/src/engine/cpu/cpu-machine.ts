import { ApusError } from '@apus/shared/kit'
import {
  type BundleLeaves,
  bundleLayout,
  checkRequest,
  decodeManifest,
  decodePieces,
  EXP2,
  feeding,
  inDomain,
  LOG2,
  type MachineEngine,
  type Manifest,
  PAGE_ROWS,
  piecesInLeaf,
  RunRecorder,
  type RunRequest,
  type RunResult,
  SIGMOID,
  SIN,
} from '@apus/shared/machine'
import { Batcher, type Step } from './batcher.ts'
import { instantiateKernels } from './kernels.ts'
import { type MemoryPlan, planMemory, SHARD_LIMIT } from './memory-plan.ts'
import { PageCache } from './page-cache.ts'
import { type Limits, slotBytes } from './sizes.ts'
import { ThreadTeam } from './thread-team.ts'
import { WeightPlacer } from './weight-placer.ts'

/** Positions computed together: past some tens, the weights are no longer what is waited for. */
const COLUMNS = 32
/** Runs computed together at most. */
const RUNS = 16
/** Memory for keys and values unless told otherwise, bytes. */
const CACHE_BYTES = 2 ** 30

export interface CpuOptions {
  readonly threads: number
  /** Memory for keys and values. */
  readonly cacheBytes?: number
  /** Positions computed together. */
  readonly columns?: number
  /** Memory that the model may take: what the system has unless told otherwise. */
  readonly memoryBytes?: number
  /** Bytes of one WebAssembly memory at most. */
  readonly shardLimit?: number
  /** False only to measure what checkpoints and page digests cost: results then have none. */
  readonly commits?: boolean
}

/** The machine on CPU threads: runs go on together and share every pass over the weights. */
export class CpuMachine implements MachineEngine {
  readonly manifest: Manifest
  readonly #pieces: readonly Uint8Array[]
  readonly #team: ThreadTeam
  readonly #cache: PageCache
  readonly #batcher: Batcher
  readonly #commits: boolean

  private constructor(
    manifest: Manifest,
    pieces: readonly Uint8Array[],
    plan: MemoryPlan,
    memories: readonly WebAssembly.Memory[],
    commits: boolean,
  ) {
    this.manifest = manifest
    this.#commits = commits
    this.#pieces = pieces
    this.#team = new ThreadTeam(manifest, plan, memories)
    this.#cache = new PageCache(manifest, plan, memories, commits)
    this.#batcher = new Batcher(manifest.width, plan, memories, this.#team, this.#cache)
  }

  /** Reads a whole bundle into memory. Errors: `bundle-invalid`, `out-of-memory`, those of the leaves. */
  static async load(leaves: BundleLeaves, options: CpuOptions): Promise<CpuMachine> {
    let parts: ReturnType<typeof prepare> | undefined
    const pieces: Uint8Array[] = []
    for await (const [index, leaf] of inDomain(leaves)) {
      parts ??= prepare(decodeManifest(leaf), options)
      const { manifest, layout, placer } = parts
      placer.place(index, leaf)
      if (index >= layout.pieces && index < layout.tokenizer) {
        pieces.push(
          ...decodePieces(Uint8Array.from(leaf), piecesInLeaf(manifest.vocab, index - layout.pieces)),
        )
      }
    }
    if (parts === undefined) throw new RangeError('a complete bundle has a manifest')
    return new CpuMachine(parts.manifest, pieces, parts.plan, parts.memories, options.commits ?? true)
  }

  async run(
    request: RunRequest,
    signal: AbortSignal,
    onToken?: (token: number, index: number) => void,
  ): Promise<RunResult> {
    checkRequest(this.manifest, request)
    stopIfAborted(signal)
    const { context } = this.manifest
    const positions = Math.min(request.prompt.length + request.maxTokens - 1, context)
    return this.#within(positions, request.prompt, signal, sequence =>
      this.#generate(request, sequence, signal, onToken),
    )
  }

  async pages(tokens: readonly number[], signal: AbortSignal): Promise<readonly Uint8Array[]> {
    const request = feeding(tokens)
    checkRequest(this.manifest, request)
    stopIfAborted(signal)
    return this.#within(tokens.length, tokens, signal, async sequence => {
      const { sampler, noise } = request
      const token = tokens.at(-1) as number
      await this.#batcher.next(sequence, { position: tokens.length - 1, token, sampler, noise, recent: [] })
      stopIfAborted(signal)
      return this.#cache.pages(sequence, tokens.length)
    })
  }

  async close(): Promise<void> {
    await this.#team.close()
    await this.#cache.end()
  }

  /** What `compute` gives with a sequence that has room for `positions` and begins with this prompt. */
  async #within<T>(
    positions: number,
    prompt: readonly number[],
    signal: AbortSignal,
    compute: (sequence: number) => Promise<T>,
  ): Promise<T> {
    const sequence = await this.#cache.open(positions, signal)
    const leave = (): Promise<void> => this.#batcher.leave(sequence)
    this.#batcher.enter(sequence, prompt.slice(0, -1))
    signal.addEventListener('abort', leave, { once: true })
    try {
      return await compute(sequence)
    } finally {
      signal.removeEventListener('abort', leave)
      await leave()
      this.#cache.close(sequence)
    }
  }

  async #generate(
    request: RunRequest,
    sequence: number,
    signal: AbortSignal,
    onToken: ((token: number, index: number) => void) | undefined,
  ): Promise<RunResult> {
    const { prompt, sampler, noise } = request
    const model = { manifest: this.manifest, pieces: this.#pieces }
    const run = new RunRecorder(model, { ...request, promptLength: prompt.length }, prompt, onToken)
    const step = (): Step => ({
      position: run.position,
      token: run.newest,
      sampler,
      noise,
      recent: run.recent,
    })
    for (let next = this.#batcher.next(sequence, step()); ; ) {
      const { token, xFinal } = await next
      stopIfAborted(signal)
      const stop = run.take(token)
      // The next position is computed while this one is hashed.
      if (stop === 0) next = this.#batcher.next(sequence, step())
      run.commit(this.#commits ? xFinal : undefined)
      if (stop !== 0) return run.result(this.#commits ? await this.#cache.leaves(sequence, run.position) : [])
    }
  }
}

/** Memory for a model, laid out and still without weights. */
function prepare(manifest: Manifest, options: CpuOptions) {
  const { threads, cacheBytes = CACHE_BYTES, columns = COLUMNS, shardLimit = SHARD_LIMIT } = options
  const affordable = Math.max(1, Math.floor(cacheBytes / slotBytes(manifest)))
  const slots = Math.min(affordable, Math.ceil(manifest.context / PAGE_ROWS) * RUNS)
  const limits: Limits = {
    columns,
    choosing: Math.min(RUNS, columns),
    sequences: RUNS,
    positions: Math.min(manifest.context, slots * PAGE_ROWS),
    threads,
  }
  const plan = planMemory(manifest, limits, slots, instantiateKernels(allocate(1)), shardLimit)
  const needed = plan.shards.reduce((sum, { bytes }) => sum + bytes, 0)
  const available = options.memoryBytes ?? process.availableMemory()
  if (needed > available)
    throw new ApusError(
      'out-of-memory',
      `The model needs ${megabytes(needed)} MB of memory and ${megabytes(available)} MB are free.`,
      { retry: true },
    )
  const shards = plan.shards.map(({ bytes }) => {
    const memory = allocate(bytes)
    const kernels = instantiateKernels(memory)
    for (const [i, table] of [EXP2, SIN, SIGMOID, LOG2].entries()) {
      new Uint32Array(memory.buffer).set(table, kernels.tableAddress(i) / 4)
    }
    return { memory, kernels }
  })
  const layout = bundleLayout(manifest)
  const placer = new WeightPlacer(manifest, layout, plan, shards)
  return { manifest, layout, plan, placer, memories: shards.map(({ memory }) => memory) }
}

const megabytes = (bytes: number): number => Math.ceil(bytes / 1e6)

function allocate(bytes: number): WebAssembly.Memory {
  const pages = Math.ceil(bytes / 65_536)
  try {
    return new WebAssembly.Memory({ initial: pages, maximum: pages, shared: true })
  } catch (cause) {
    throw new ApusError('out-of-memory', 'There is not enough memory for the model.', { cause })
  }
}

function stopIfAborted(signal: AbortSignal): void {
  if (signal.aborted)
    throw new ApusError('aborted', 'The run was stopped.', { retry: true, cause: signal.reason })
}
