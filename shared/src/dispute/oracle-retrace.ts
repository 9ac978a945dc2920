import { merkleLeaf, merkleLevels } from '../hashing/merkle.ts'
import type { RunRequest } from '../machine/engine.ts'
import type { BundleReader, Model } from '../machine/model.ts'
import { Oracle } from '../machine/oracle.ts'
import type { RunTerms } from '../machine/plan-parts.ts'
import { choosesAt } from '../machine/plan-parts.ts'
import { Page } from '../machine/rows.ts'
import { Sequence } from '../machine/sequence.ts'
import { type PositionTrace, runTerms, tracePosition } from '../machine/trace.ts'
import type { Retrace } from './retrace.ts'

/** A bundle that can prove its leaves. */
export interface ProvingBundle extends BundleReader {
  /** Sibling hashes of a leaf, from the leaf upwards. */
  path(index: number): readonly Uint8Array[]
}

/** A run done again by the oracle: slow, small, and right by definition. */
export class OracleRetrace implements Retrace {
  readonly terms: RunTerms
  readonly promptTokens: readonly number[]
  readonly tokens: readonly number[]
  readonly pieces: readonly Uint8Array[]
  readonly checkpoints: readonly Uint8Array[]
  readonly pageLeaves: readonly Uint8Array[]
  readonly #bundle: ProvingBundle
  readonly #model: Model
  readonly #all: readonly number[]
  /** Pages as the end of the run left them. */
  readonly #sequence: Sequence
  #traced: { readonly position: number; readonly trace: PositionTrace } | undefined

  private constructor(
    bundle: ProvingBundle,
    model: Model,
    request: RunRequest,
    result: Pick<Retrace, 'tokens' | 'checkpoints' | 'pageLeaves'>,
    sequence: Sequence,
  ) {
    this.#bundle = bundle
    this.#model = model
    this.#sequence = sequence
    this.#all = [...request.prompt, ...result.tokens]
    this.terms = runTerms(model, request)
    this.promptTokens = request.prompt
    this.tokens = result.tokens
    this.checkpoints = result.checkpoints
    this.pageLeaves = result.pageLeaves
    this.pieces = result.tokens.map(token => model.pieces[token] as Uint8Array)
  }

  /** Runs the request to its end. Errors: those of a run of the machine. */
  static async run(bundle: ProvingBundle, request: RunRequest, signal: AbortSignal): Promise<OracleRetrace> {
    const oracle = new Oracle(bundle)
    const result = await oracle.run(request, signal)
    const sequence = new Sequence(oracle.model)
    const all = [...request.prompt, ...result.tokens]
    await feed(sequence, runTerms(oracle.model, request), all, all.length - 1, signal)
    return new OracleRetrace(bundle, oracle.model, request, result, sequence)
  }

  /** Computes a position ahead of the calls that ask for its operations, a token at a time. */
  async prepare(position: number, signal: AbortSignal): Promise<void> {
    if (this.#traced?.position === position) return
    const sequence = new Sequence(this.#model)
    await feed(sequence, this.terms, this.#all, position, signal)
    this.#traced = { position, trace: tracePosition(sequence, this.terms, this.#all, () => true) }
  }

  page(index: number): Uint8Array {
    const { layers, kvHeads, headSize } = this.terms.manifest
    const pair = index >> 1
    const head = pair % kvHeads
    const layer = Math.floor(pair / kvHeads) % layers
    const page = Math.floor(pair / (kvHeads * layers))
    const kind = index & 1 ? 1 : 0
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
    const sequence = new Sequence(this.#model)
    for (let p = 0; p < position; p++) sequence.feed(this.#all[p] as number, choosesAt(this.terms, p))
    const trace = tracePosition(sequence, this.terms, this.#all, () => true)
    this.#traced = { position, trace }
    return trace
  }
}

/** Feeds the positions below `end`, and lets others work between them. */
async function feed(
  sequence: Sequence,
  terms: RunTerms,
  tokens: readonly number[],
  end: number,
  signal: AbortSignal,
): Promise<void> {
  for (let p = 0; p < end; p++) {
    signal.throwIfAborted()
    sequence.feed(tokens[p] as number, choosesAt(terms, p))
    await new Promise(resolve => setImmediate(resolve))
  }
}

/** Leaves in memory as a bundle that proves them. */
export function provingBundle(root: string, leaves: readonly Uint8Array[]): ProvingBundle {
  const levels = merkleLevels(leaves.map(leaf => merkleLeaf('apus.machine.1/bundle', leaf)))
  return {
    root,
    leafCount: leaves.length,
    leaf: index => leaves[index] as Uint8Array,
    path: index => levels.flatMap((level, depth) => level[(index >> depth) ^ 1] ?? []),
  }
}
