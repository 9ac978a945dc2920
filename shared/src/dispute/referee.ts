import { equalBytes } from '../hashing/bytes.ts'
import { toBase64Url } from '../hashing/digest.ts'
import { rootOfRange } from '../hashing/merkle-proof.ts'
import { errorCode } from '../kit/errors.ts'
import { bundleLeaf, pageLeaf, pieceLeaf } from '../machine/digests.ts'
import { checkLeaf } from '../machine/domain.ts'
import { embeddingLeaf, thresholdLeaf } from '../machine/inputs.ts'
import { pageLeafCount, pairIndex } from '../machine/pages.ts'
import { planStage } from '../machine/plan.ts'
import type { RunTerms } from '../machine/plan-parts.ts'
import { promptLeaf } from '../machine/prompt-tree.ts'
import { recompute } from '../machine/recompute.ts'
import { MAX_PIECE_BYTES, PAGE_ROWS, PROMPT_LEAF_TOKENS } from '../machine/sizes.ts'
import { cutLeaves, type Input, type Operation } from '../machine/steps.ts'
import { digestOfRange, valueLeaf } from '../machine/value-tree.ts'
import type { RevealedResult } from '../protocol/dispute.ts'
import { encodeTokens } from '../protocol/round.ts'
import { refused } from './refused.ts'
import type { AnsweredChunks } from './seat-answers.ts'

const LEGAL = Uint8Array.of(1)

/** One disputed step: what the accused said of it by answers that fit the rules, and the inputs that a challenger proves it by. */
export interface DisputedStep {
  readonly terms: RunTerms
  /** Bundle root and root of the prompt's tokens, base64url. */
  readonly model: string
  readonly promptTokens: string
  readonly result: RevealedResult
  /** Chosen tokens that the accused revealed. */
  readonly tokens: readonly number[]
  readonly position: number
  readonly stage: number
  readonly operation: number
  readonly chunk: number
  /** The accused's digests of the position's stages and of the stage's operations, and its value of the operation. */
  readonly stages: readonly Uint8Array[]
  readonly operations: readonly Uint8Array[]
  readonly answer: AnsweredChunks
  readonly inputs: readonly { readonly leaf: Uint8Array; readonly path: readonly Uint8Array[] }[]
}

export interface Judgement {
  readonly verdict: 'fault' | 'correct'
  /** What the machine gives for the chunk; undefined when the inputs allow nothing. */
  readonly expected: Uint8Array | undefined
  /** What the accused says, where it showed values. */
  readonly claimed: Uint8Array | undefined
}

/**
 * Recomputes one chunk from inputs that the accused committed to, as the contract does. Errors, when the argument does
 * not hold together: `out-of-range`, `wrong-inputs`, `wrong-path`, `advice`; or when it rests on a bundle or a prompt that is
 * none of the machine's: `bad-bundle`, `bad-prompt`.
 */
export function judgeStep(step: DisputedStep): Judgement {
  const operations = planStage(step.terms, step.position, step.stage)
  const operation = operations[step.operation]
  if (!operation) throw refused('out-of-range', 'The stage has no such operation.')
  if (operation.advice) throw refused('advice', 'This operation is not recomputed; prove its check.')
  if (!(step.chunk >= 0 && step.chunk < operation.chunks))
    throw refused('out-of-range', 'The operation has no such chunk.')
  const chunk = operation.chunk(step.chunk)
  if (chunk.step === undefined) throw refused('advice', 'This operation is not recomputed; prove its check.')
  const reader = new InputReader(step, operations)
  const bytes = orNothing(() => chunk.inputs.map(input => reader.read(input)))
  if (bytes) reader.finish()
  const claimed = step.answer.values && claimedBytes(operation, step.answer.values, chunk)
  const { step: machine } = chunk
  const expected = bytes && orNothing(() => recompute(machine, bytes))
  const right =
    expected !== undefined &&
    (operation.check ? equalBytes(expected, LEGAL) : true) &&
    (claimed
      ? equalBytes(expected, claimed)
      : equalBytes(valueLeaf(expected), step.answer.leaves?.[chunk.leaf]))
  return { verdict: right ? 'correct' : 'fault', expected, claimed }
}

function claimedBytes(
  operation: Operation,
  values: Uint8Array,
  { leaf, from, length }: { readonly leaf: number; readonly from: number; readonly length: number },
): Uint8Array {
  return (cutLeaves(operation, values)[leaf] as Uint8Array).slice(from, from + length)
}

/** A RangeError says that inputs which the accused committed to are no numbers of the machine. */
function orNothing<T>(compute: () => T): T | undefined {
  try {
    return compute()
  } catch (error) {
    if (error instanceof RangeError) return undefined
    throw error
  }
}

/** Takes the proven inputs in the order in which the plan names them. */
class InputReader {
  readonly #step: DisputedStep
  readonly #operations: readonly Operation[]
  readonly #seen = new Map<string, Uint8Array>()
  #used = 0
  #token = 0

  constructor(step: DisputedStep, operations: readonly Operation[]) {
    this.#step = step
    this.#operations = operations
  }

  read(input: Input): Uint8Array {
    const { terms, result } = this.#step
    switch (input.kind) {
      case 'value':
        return this.#value(input)
      case 'threshold': {
        const tau = this.#seen.get(input.operation) ?? new Uint8Array(8)
        const scores = thresholdLeaf(input.stage, tau, terms.manifest.vocab)
        return scores ? this.#value(scores) : new Uint8Array()
      }
      case 'bundle':
        return this.#bundle(input.leaf)
      case 'embedding':
        return this.#bundle(embeddingLeaf(terms.layout, this.#token))
      case 'page': {
        const index = 2 * pairIndex(this.#step, input) + input.kv
        const { leaf, path } = this.#take()
        this.#check(
          rootOfRange(pageLeafCount(this.#step, result.count), index, [pageLeaf(leaf)], path),
          result.kvRoot,
        )
        return legal(leaf, leaf.length === PAGE_ROWS * (1 + 2 * terms.manifest.headSize))
      }
      case 'tokens':
        return this.#tokens(input.first, input.first + input.count)
      case 'piece': {
        const { leaf, path } = this.#take()
        this.#check(rootOfRange(result.count, input.n, [pieceLeaf(leaf)], path), result.answerRoot)
        return legal(leaf, leaf.length <= MAX_PIECE_BYTES)
      }
    }
  }

  finish(): void {
    if (this.#used !== this.#step.inputs.length)
      throw refused('wrong-inputs', 'The proof has too many inputs.')
  }

  #take() {
    const input = this.#step.inputs[this.#used++]
    if (!input) throw refused('wrong-inputs', 'The proof has too few inputs.')
    return input
  }

  #check(found: Uint8Array | undefined, root: string): void {
    if (found === undefined || toBase64Url(found) !== root)
      throw refused('wrong-path', `Input ${this.#used} is not proven to be what the plan names.`)
  }

  #bundle(index: number): Uint8Array {
    const { terms, model } = this.#step
    const { leaf, path } = this.#take()
    this.#check(rootOfRange(terms.layout.leafCount, index, [bundleLeaf(leaf)], path), model)
    try {
      checkLeaf(terms.manifest, terms.layout, index, leaf)
    } catch (error) {
      if (errorCode(error) !== 'bundle-invalid') throw error
      throw refused('bad-bundle', `Leaf ${index} of the bundle is outside what the machine allows.`)
    }
    return leaf
  }

  #value({ stage, operation: name, first, count }: Extract<Input, { readonly kind: 'value' }>): Uint8Array {
    const { terms, position, stages } = this.#step
    const own = stage === this.#step.stage
    const operations = own ? this.#operations : planStage(terms, position, stage)
    const at = operations.findIndex(operation => operation.name === name)
    const operation = operations[at]
    const digest = own ? this.#step.operations[at] : stages[stage]
    if (!operation || !digest) throw refused('wrong-inputs', `There is no ${name}.`)
    const { leaf, path } = this.#take()
    const hashes = cutRange(operation, leaf, first, count).map(valueLeaf)
    this.#check(digestOfRange(operation, first, hashes, path), toBase64Url(digest))
    this.#seen.set(name, leaf)
    return legal(leaf, count > 1 || leaf.length === operation.leafBytes(first))
  }

  #tokens(first: number, end: number): Uint8Array {
    const { terms, promptTokens } = this.#step
    const { promptLength } = terms
    const { vocab } = terms.manifest
    const parts: Uint8Array[] = []
    if (first < promptLength) {
      const from = Math.floor(first / PROMPT_LEAF_TOKENS)
      const to = Math.min(end, promptLength)
      const { leaf, path } = this.#take()
      const count = Math.ceil(promptLength / PROMPT_LEAF_TOKENS)
      const hashes = pieces(leaf, PROMPT_LEAF_TOKENS * 4).map(part => promptLeaf(part))
      this.#check(rootOfRange(count, from, hashes, path), promptTokens)
      const part = leaf.slice((first - from * PROMPT_LEAF_TOKENS) * 4, (to - from * PROMPT_LEAF_TOKENS) * 4)
      if (part.length !== (to - first) * 4 || part.length === 0 || tokensOf(part).some(t => t >= vocab))
        throw refused('bad-prompt', 'The prompt has an unknown token or lacks tokens.')
      parts.push(part)
    }
    const chosen = this.#step.tokens.slice(Math.max(first - promptLength, 0), Math.max(end - promptLength, 0))
    parts.push(encodeTokens(chosen))
    const tokens = new Uint8Array(Buffer.concat(parts))
    if (tokens.length !== (end - first) * 4) throw refused('wrong-inputs', 'Tokens of the run are missing.')
    this.#token = new DataView(tokens.buffer).getUint32(tokens.length - 4, true)
    return tokens
  }
}

const pieces = (bytes: Uint8Array, size: number): Uint8Array[] =>
  Array.from({ length: Math.ceil(bytes.length / size) }, (_, i) => bytes.slice(i * size, (i + 1) * size))

const tokensOf = (bytes: Uint8Array): number[] =>
  Array.from({ length: bytes.length >> 2 }, (_, i) => Buffer.from(bytes).readUInt32LE(i * 4))

/** The accused's own leaf; RangeError when no run of the machine holds it, which is a fault. */
function legal(leaf: Uint8Array, is: boolean): Uint8Array {
  if (!is) throw new RangeError('no run holds this leaf')
  return leaf
}

/** Cuts neighbouring leaves of an operation; a single one keeps the length that it has, bytes too many stay in the last. */
function cutRange(operation: Operation, bytes: Uint8Array, first: number, count: number): Uint8Array[] {
  if (count === 1) return [bytes]
  let at = 0
  return Array.from({ length: count }, (_, i) => {
    const from = at
    at += operation.leafBytes(first + i)
    return bytes.slice(from, i === count - 1 ? undefined : at)
  })
}
