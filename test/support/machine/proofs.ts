import { merkleLeaf, merkleRoot, toBase64Url } from '@apus/shared/hashing'
import { KnownTree } from '../../../shared/src/hashing/known-tree.ts'
import { pieceLeaf } from '../../../shared/src/machine/digests.ts'
import { embeddingLeaf, readInput, thresholdLeaf } from '../../../shared/src/machine/inputs.ts'
import { decodeRanked } from '../../../shared/src/machine/sampler.ts'
import type { Input, Operation } from '../../../shared/src/machine/steps.ts'
import { runHashes, valueLeaf } from '../../../shared/src/machine/value-tree.ts'
import type { MemoryBundle } from './random-model.ts'
import type { TracedRun } from './traced-run.ts'

/** An input with its proof, as a challenger sends it. */
export interface ProvenInput {
  readonly leaf: Uint8Array
  readonly path: readonly Uint8Array[]
}

const VALUE = 'apus.machine.1/value'
const PROMPT = 'apus.machine.1/prompt'
const BUNDLE = 'apus.machine.1/bundle'
const PROMPT_TOKENS = 64

/** The proof of neighbouring leaves of a tree. */
export function rangePath(hashes: readonly Uint8Array[], first: number, count: number): Uint8Array[] {
  const tree = new KnownTree(hashes.length)
  tree.setAll(0, 0, hashes)
  return tree.rangePath(first, count)!
}

export const valueHash = (leaf: Uint8Array): Uint8Array => merkleLeaf(VALUE, leaf)

/** Leaves of the prompt's tree. */
export function promptLeaves(tokens: readonly number[]): Uint8Array[] {
  return Array.from(
    { length: Math.ceil(tokens.length / PROMPT_TOKENS) },
    (_, i) =>
      new Uint8Array(Uint32Array.from(tokens.slice(i * PROMPT_TOKENS, (i + 1) * PROMPT_TOKENS)).buffer),
  )
}

export const promptRoot = (tokens: readonly number[]): string =>
  toBase64Url(merkleRoot(promptLeaves(tokens).map(leaf => merkleLeaf(PROMPT, leaf))))

/** Proves what the plan names from a traced run. */
export class Prover {
  readonly #run: TracedRun
  readonly #bundle: MemoryBundle
  readonly #bundleTree: KnownTree

  constructor(run: TracedRun, bundle: MemoryBundle) {
    this.#run = run
    this.#bundle = bundle
    this.#bundleTree = new KnownTree(bundle.leafCount)
    this.#bundleTree.setAll(
      0,
      0,
      bundle.leaves.map(leaf => merkleLeaf(BUNDLE, leaf)),
    )
  }

  /** The inputs of a chunk in the order of the plan. */
  inputs(position: number, operation: Operation, chunk: number): ProvenInput[] {
    return operation.chunk(chunk).inputs.flatMap(input => this.#prove(position, input))
  }

  #prove(position: number, input: Input): ProvenInput[] {
    const { layout } = this.#run.model
    switch (input.kind) {
      case 'value':
        return [this.#value(position, input.stage, input.operation, input.first, input.count)]
      case 'threshold': {
        const tau = this.#traced(position, input.stage, input.operation).leaves[0]!
        const at = thresholdLeaf(input.stage, tau, this.#run.terms.manifest.vocab)
        if (!at) throw new RangeError(`no token ${decodeRanked(tau).index}`)
        return [this.#value(position, at.stage, at.operation, at.first, 1)]
      }
      case 'bundle':
        return [this.#bundleLeaf(input.leaf)]
      case 'embedding':
        return [this.#bundleLeaf(embeddingLeaf(layout, this.#run.tokens[input.position]!))]
      case 'page': {
        const { layers, kvHeads } = this.#run.terms.manifest
        const index = ((input.page * layers + input.layer) * kvHeads + input.head) * 2 + input.kv
        const leaf = readInput(input, this.#run.source(position))
        return [{ leaf, path: rangePath(this.#run.result.pageLeaves, index, 1) }]
      }
      case 'tokens':
        return this.#tokens(input.first, input.count)
      case 'piece': {
        const pieces = this.#run.result.tokens.map(token => this.#run.model.pieces[token]!)
        return [{ leaf: pieces[input.n]!, path: rangePath(pieces.map(pieceLeaf), input.n, 1) }]
      }
    }
  }

  #traced(position: number, stage: number, name: string) {
    return this.#run.positions
      .get(position)!
      .operations.get(stage)!
      .find(traced => traced.operation.name === name)!
  }

  #value(position: number, stage: number, name: string, first: number, count: number): ProvenInput {
    const { operation, leaves } = this.#traced(position, stage, name)
    const leaf = new Uint8Array(Buffer.concat(leaves.slice(first, first + count)))
    if (operation.leavesPerRun === undefined)
      return { leaf, path: rangePath(leaves.map(valueHash), first, count) }
    const run = Math.floor(first / operation.leavesPerRun)
    const inside = leaves
      .slice(run * operation.leavesPerRun, (run + 1) * operation.leavesPerRun)
      .map(valueHash)
    return {
      leaf,
      path: [
        ...rangePath(inside, first % operation.leavesPerRun, count),
        ...rangePath(runHashes(leaves.map(valueLeaf), operation.leavesPerRun), run, 1),
      ],
    }
  }

  #bundleLeaf(index: number): ProvenInput {
    return { leaf: this.#bundle.leaf(index), path: this.#bundleTree.rangePath(index, 1)! }
  }

  /** The leaves of the prompt and those of the checkpoints that hold the tokens. */
  #tokens(first: number, count: number): ProvenInput[] {
    const { terms, tokens } = this.#run
    const { promptLength } = terms
    const proven: ProvenInput[] = []
    const end = first + count
    if (first < promptLength) {
      const leaves = promptLeaves(tokens.slice(0, promptLength))
      const from = Math.floor(first / PROMPT_TOKENS)
      const to = Math.floor((Math.min(end, promptLength) - 1) / PROMPT_TOKENS)
      proven.push({
        leaf: new Uint8Array(Buffer.concat(leaves.slice(from, to + 1))),
        path: rangePath(
          leaves.map(leaf => merkleLeaf(PROMPT, leaf)),
          from,
          to + 1 - from,
        ),
      })
    }
    return proven
  }
}
