import { ApusError } from '@apus/shared/kit'
import {
  type BundleLeaves,
  checkRequest,
  decodeManifest,
  feeding,
  inDomain,
  type MachineEngine,
  type Manifest,
  RunRecorder,
  type RunRequest,
  type RunResult,
} from '@apus/shared/machine'
import { compileForwardPass } from './forward-pass.ts'
import type { GpuDevice } from './gpu-device.ts'
import { GpuModel } from './gpu-model.ts'
import { allocateState, destroyState, type StateSizes } from './gpu-state.ts'
import { allocateWeights, destroyWeights } from './gpu-weights.ts'
import { LeafStream } from './leaf-stream.ts'
import { loadPieces, loadWeights } from './load-weights.ts'
import { StepQueue } from './step-queue.ts'
import { tableWords } from './table-words.ts'
import { type LinearTuning, tuningFor } from './tuning.ts'

export interface GpuMachineOptions extends Partial<StateSizes> {
  readonly tuning?: LinearTuning
}

/** Sequences computed together at most. */
const SEQUENCES = 8
/** Prompt positions computed together. */
const COLUMNS = 64
/** Positions for which keys and values have room unless told otherwise. */
const POSITIONS = 8192

/** The machine on a graphics device. Runs asked for together are computed together. */
export class GpuMachine implements MachineEngine {
  readonly manifest: Manifest
  readonly #pieces: readonly Uint8Array[]
  readonly #model: GpuModel
  readonly #queue: StepQueue
  readonly #release: () => void

  private constructor(
    manifest: Manifest,
    pieces: readonly Uint8Array[],
    model: GpuModel,
    release: () => void,
  ) {
    this.manifest = manifest
    this.#pieces = pieces
    this.#model = model
    this.#queue = new StepQueue(model)
    this.#release = release
  }

  /**
   * Loads a bundle onto the device, which outlives this machine. Errors: `bundle-invalid`, `gpu-error`, `device-lost`,
   * `gpu-out-of-memory`, those of the leaves.
   */
  static async load(
    gpu: GpuDevice,
    bundle: BundleLeaves,
    options: GpuMachineOptions = {},
  ): Promise<GpuMachine> {
    const leaves = new LeafStream(inDomain(bundle))
    const releases: (() => void)[] = []
    const release = () => {
      for (const free of releases) free()
    }
    try {
      const manifest = decodeManifest(await leaves.take())
      const sizes = {
        sequences: options.sequences ?? SEQUENCES,
        columns: options.columns ?? COLUMNS,
        positions: options.positions ?? Math.min(POSITIONS, manifest.context * SEQUENCES),
      }
      const weights = await allocateWeights(gpu, manifest)
      releases.push(() => destroyWeights(weights))
      const state = await allocateState(gpu, manifest, sizes, tableWords())
      releases.push(() => destroyState(state))
      await loadWeights(gpu, weights, manifest, leaves)
      const pieces = await loadPieces(manifest, leaves)
      await leaves.finish()
      const tuning = options.tuning ?? tuningFor(gpu.info.software)
      const pass = await compileForwardPass(gpu, manifest, weights, state, tuning)
      return new GpuMachine(manifest, pieces, new GpuModel(gpu, manifest, state, pass), release)
    } catch (error) {
      release()
      throw error
    } finally {
      await leaves.close()
    }
  }

  get dispatchesPerToken(): number {
    return this.#model.dispatchesPerToken
  }

  async run(
    request: RunRequest,
    signal: AbortSignal,
    onToken?: (token: number, index: number) => void,
  ): Promise<RunResult> {
    checkRequest(this.manifest, request)
    const { prompt } = request
    const most = Math.min(request.maxTokens, this.manifest.context - prompt.length + 1)
    const positions = prompt.length + most - 1
    this.#demandRoom(positions)
    const model = { manifest: this.manifest, pieces: this.#pieces }
    const run = new RunRecorder(model, { ...request, promptLength: prompt.length }, prompt, onToken)
    const sequence = await this.#queue.enter(request, positions, signal)
    try {
      await sequence.decode(most, ({ token, xFinal }) => {
        const stop = run.take(token)
        run.commit(xFinal)
        return stop === 0
      })
      return run.result(await sequence.pageLeaves(run.position))
    } finally {
      sequence.leave()
    }
  }

  async pages(tokens: readonly number[], signal: AbortSignal): Promise<readonly Uint8Array[]> {
    const request = feeding(tokens)
    checkRequest(this.manifest, request)
    this.#demandRoom(tokens.length)
    const sequence = await this.#queue.enter(request, tokens.length, signal)
    try {
      await sequence.decode(1, () => false)
      return await sequence.pages(tokens.length)
    } finally {
      sequence.leave()
    }
  }

  #demandRoom(positions: number): void {
    if (positions <= this.#model.capacity) return
    throw new ApusError(
      'gpu-out-of-memory',
      `The run needs ${positions} positions and this engine has room for ${this.#model.capacity}.`,
    )
  }

  async close(): Promise<void> {
    await this.#queue.close()
    this.#release()
  }
}
