import { equalBytes } from '../hashing/bytes.ts'
import { merkleLevels } from '../hashing/merkle.ts'
import { ApusError } from '../kit/errors.ts'
import { bundleLeaf, pageLeaf } from '../machine/digests.ts'
import type { RunRequest } from '../machine/engine.ts'
import type { Manifest } from '../machine/manifest.ts'
import { type BundleReader, Model } from '../machine/model.ts'
import { Oracle, pageLeavesOf } from '../machine/oracle.ts'
import { pairPlace } from '../machine/pages.ts'
import { choosesAt, type RunTerms } from '../machine/plan-parts.ts'
import { Page } from '../machine/rows.ts'
import { Sequence } from '../machine/sequence.ts'
import { CHECKPOINT_DIGEST_AT, PAGE_ROWS } from '../machine/sizes.ts'
import { type PositionTrace, runTerms, traceLayerwise, tracePosition } from '../machine/trace.ts'
import type { Replay } from './replay.ts'

/** A bundle that can prove its leaves. */
export interface ProvingBundle extends BundleReader {
  /** Sibling hashes of a leaf, from the leaf upwards. */
  path(index: number): readonly Uint8Array[]
}

type RunLeaves = Pick<Replay, 'tokens' | 'checkpoints' | 'pageLeaves'>

/** A run of which the oracle computes every step that is asked for: slow, small, and right by definition. */
export class OracleReplay implements Replay {
  readonly terms: RunTerms
  readonly promptTokens: readonly number[]
  readonly tokens: readonly number[]
  readonly pieces: readonly Uint8Array[]
  readonly checkpoints: readonly Uint8Array[]
  readonly pageLeaves: readonly Uint8Array[]
  readonly #bundle: ProvingBundle
  readonly #model: Model
  readonly #request: RunRequest
  readonly #all: readonly number[]
  /** Checkpoints that follow from the tokens read: all, unless they are somebody else's. */
  readonly #own: number
  /** Those of the end of the run, where they are known. */
  readonly #pages: readonly Uint8Array[] | undefined
  /** Without them: as far as it was fed, pages below its position are as the end of the run left them. */
  readonly #sequence: Sequence
  #traced: { readonly position: number; readonly trace: PositionTrace } | undefined

  private constructor(
    bundle: ProvingBundle,
    model: Model,
    request: RunRequest,
    result: RunLeaves,
    pages?: readonly Uint8Array[],
    own = result.checkpoints.length,
  ) {
    this.#bundle = bundle
    this.#model = model
    this.#request = request
    this.#pages = pages
    this.#sequence = new Sequence(model)
    this.#all = [...request.prompt, ...result.tokens]
    this.#own = own
    this.terms = runTerms(model, request)
    this.promptTokens = request.prompt
    this.tokens = result.tokens
    this.checkpoints = result.checkpoints
    this.pageLeaves = result.pageLeaves
    this.pieces = result.tokens.map(token => model.pieces[token] as Uint8Array)
  }

  /** Runs the request to its end. Errors: those of a run of the machine. */
  static async run(bundle: ProvingBundle, request: RunRequest, signal: AbortSignal): Promise<OracleReplay> {
    const oracle = new Oracle(bundle)
    return new OracleReplay(bundle, oracle.model, request, await oracle.run(request, signal))
  }

  /**
   * Steps of a run whose result another implementation of the machine has given; nothing is computed before it is asked for.
   * With the run's K/V `pages`, in the order of their leaves, that is one position, whatever its number; pages that are
   * not those of the leaves are left aside, and all positions up to the one in question computed.
   */
  static of(
    bundle: ProvingBundle,
    request: RunRequest,
    result: RunLeaves,
    pages?: readonly Uint8Array[],
  ): OracleReplay {
    const known = pages && areUnder(pages, result.pageLeaves) ? pages : undefined
    return new OracleReplay(bundle, known ? new Model(bundle, 0) : new Model(bundle), request, result, known)
  }

  /**
   * The same job as one computes it who reads these tokens, whatever would have been chosen: by them every page and
   * checkpoint of somebody else's run can be told right or wrong. `pages`: those after all of them but the last were fed.
   */
  reading(tokens: readonly number[], pages?: readonly Uint8Array[]): OracleReplay {
    const request = this.#request
    const model = pages ? new Model(this.#bundle, 0) : this.#model
    const read = withinContext(model.manifest, request, tokens)
    const apart = read.findIndex((token, i) => token !== this.tokens[i])
    const own = apart < 0 ? this.checkpoints.length : apart + 1
    const pageLeaves = pages?.map(pageLeaf) ?? leavesAfter(model, request, read)
    const { checkpoints } = this
    return new OracleReplay(
      this.#bundle,
      model,
      request,
      { tokens: read, checkpoints, pageLeaves },
      pages,
      own,
    )
  }

  /** Computes a position ahead of the calls that ask for its operations, a layer at a time. Errors: `engine-wrong`. */
  async prepare(position: number, signal: AbortSignal): Promise<void> {
    if (this.#traced?.position === position) return
    const sequence = this.#sequenceAt(position)
    await feed(sequence, this.terms, this.#all, position, signal)
    const steps = traceLayerwise(sequence, this.terms, this.#all, () => true)
    let step = steps.next()
    for (; !step.done; step = steps.next()) {
      // One that is kept must not end within a position.
      if (sequence !== this.#sequence) signal.throwIfAborted()
      await othersWork()
    }
    this.#checkCheckpoint(position, step.value)
    this.#checkRows(position, sequence)
    this.#traced = { position, trace: step.value }
  }

  /** What the position gives is under the run's checkpoint, unless the engine that gave it was wrong. */
  #checkCheckpoint(position: number, { stages }: PositionTrace): void {
    const index = position - this.terms.promptLength + 1
    const checkpoint = index < this.#own ? this.checkpoints[index] : undefined
    const residual = stages[this.terms.manifest.layers]
    if (checkpoint === undefined || equalBytes(residual, checkpoint.slice(CHECKPOINT_DIGEST_AT))) return
    throw engineWrong(position)
  }

  /** The rows that the position has written are those of the engine's pages. */
  #checkRows(position: number, sequence: Sequence): void {
    if (!this.#pages || position >= this.#all.length - 1) return
    const { layers, kvHeads, headSize } = this.terms.manifest
    const block = Math.floor(position / PAGE_ROWS)
    const rowOf = (page: Page | undefined) => page && JSON.stringify(page.row(position % PAGE_ROWS))
    for (let pair = 0; pair < layers * kvHeads; pair++) {
      const { layer, head } = pairPlace(this, pair)
      for (const kind of [0, 1] as const) {
        const index = 2 * (block * layers * kvHeads + pair) + kind
        const engines = Page.decode(this.#pages[index] as Uint8Array, headSize)
        if (rowOf(sequence.page(block, layer, head, kind)) !== rowOf(engines)) throw engineWrong(position)
      }
    }
  }

  async preparePages(pair: number, signal: AbortSignal): Promise<void> {
    if (this.#pages) return
    await feed(this.#sequence, this.terms, this.#all, this.#endOf(pairPlace(this, pair).page), signal)
  }

  page(index: number): Uint8Array {
    const known = this.#pages?.[index]
    if (known) return known
    const { layers, kvHeads, headSize } = this.terms.manifest
    const pair = index >> 1
    const head = pair % kvHeads
    const layer = Math.floor(pair / kvHeads) % layers
    const page = Math.floor(pair / (kvHeads * layers))
    const kind = index & 1 ? 1 : 0
    this.#feed(this.#sequence, this.#endOf(page))
    return (this.#sequence.page(page, layer, head, kind) ?? new Page(headSize)).encode()
  }

  operations(position: number, stage: number): readonly (readonly Uint8Array[])[] {
    const traced = this.#trace(position).operations.get(stage)
    if (traced === undefined) throw new RangeError(`position ${position} has no stage ${stage}`)
    return traced.map(operation => operation.leaves)
  }

  bundleLeaf(index: number): Uint8Array {
    return this.#bundle.leaf(index)
  }

  bundlePath(index: number): readonly Uint8Array[] {
    return this.#bundle.path(index)
  }

  #trace(position: number): PositionTrace {
    if (this.#traced?.position === position) return this.#traced.trace
    const sequence = this.#sequenceAt(position)
    this.#feed(sequence, position)
    const trace = tracePosition(sequence, this.terms, this.#all, () => true)
    this.#traced = { position, trace }
    return trace
  }

  /** One that was not fed this position yet. */
  #sequenceAt(position: number): Sequence {
    if (this.#pages) return new Sequence(this.#model, { position, pages: this.#pages })
    return this.#sequence.position <= position ? this.#sequence : new Sequence(this.#model)
  }

  /** Positions that the run fed up to the end of a page; the last chosen token is never fed. */
  #endOf(page: number): number {
    return Math.min((page + 1) * PAGE_ROWS, this.#all.length - 1)
  }

  #feed(sequence: Sequence, end: number): void {
    for (let p = sequence.position; p < end; p++)
      sequence.feed(this.#all[p] as number, choosesAt(this.terms, p))
  }
}

/** Of somebody's chosen tokens those that the context holds; a run that goes on behind it is wrong for that alone. */
export const withinContext = (
  { context }: Pick<Manifest, 'context'>,
  { prompt }: Pick<RunRequest, 'prompt'>,
  tokens: readonly number[],
): readonly number[] => tokens.slice(0, context - prompt.length + 1)

/** Leaf hashes of the pages after the prompt and all of these tokens but the last were fed. */
function leavesAfter(model: Model, { prompt }: RunRequest, tokens: readonly number[]): Uint8Array[] {
  const sequence = new Sequence(model)
  for (const token of [...prompt, ...tokens.slice(0, -1)]) sequence.feed(token, false)
  return pageLeavesOf(sequence)
}

const engineWrong = (position: number) =>
  new ApusError('engine-wrong', `At position ${position} this node's engine differs from the machine.`)

const areUnder = (pages: readonly Uint8Array[], leaves: readonly Uint8Array[]): boolean =>
  pages.length === leaves.length &&
  pages.every((page, i) => Buffer.compare(pageLeaf(page), leaves[i] as Uint8Array) === 0)

/** Feeds the positions below `end`, and lets others work between them. */
async function feed(
  sequence: Sequence,
  terms: RunTerms,
  tokens: readonly number[],
  end: number,
  signal: AbortSignal,
): Promise<void> {
  for (let p = sequence.position; p < end; p++) {
    signal.throwIfAborted()
    sequence.feed(tokens[p] as number, choosesAt(terms, p))
    await othersWork()
  }
}

const othersWork = (): Promise<void> => new Promise(resolve => setImmediate(resolve))

/** Leaves in memory as a bundle that proves them. */
export function provingBundle(root: string, leaves: readonly Uint8Array[]): ProvingBundle {
  const levels = merkleLevels(leaves.map(leaf => bundleLeaf(leaf)))
  return {
    root,
    leafCount: leaves.length,
    leaf: index => leaves[index] as Uint8Array,
    path: index => levels.flatMap((level, depth) => level[(index >> depth) ^ 1] ?? []),
  }
}
