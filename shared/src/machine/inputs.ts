import type { BundleLayout } from './layout.ts'
import { decodeRanked } from './sampler.ts'
import { OPERATION_VALUES, TILE_TOKENS } from './sizes.ts'
import type { Input } from './steps.ts'

type InputOf<K extends Input['kind']> = Extract<Input, { kind: K }>

/** Where a party keeps what chunks are recomputed from. */
export interface InputSource {
  readonly layout: BundleLayout
  readonly vocab: number
  /** All leaves of an operation of the position. */
  value(stage: number, operation: string): readonly Uint8Array[]
  bundle(leaf: number): Uint8Array
  page(page: number, layer: number, head: number, kv: 0 | 1): Uint8Array
  /** The token at a position of the sequence. */
  token(position: number): number
  /** The piece of chosen token number n. */
  piece(n: number): Uint8Array
}

/** The bundle leaf that an embedding input means, by its token. */
export const embeddingLeaf = ({ embedding }: BundleLayout, token: number): number =>
  embedding.first + Math.floor(token / embedding.tileRows)

/** The scores leaf that a threshold input means, by the threshold's bytes; none when there is no such token. */
export function thresholdLeaf(stage: number, tau: Uint8Array, vocab: number): InputOf<'value'> | undefined {
  const { index } = decodeRanked(tau)
  if (index >= vocab) return undefined
  const first = Math.floor((index % OPERATION_VALUES) / TILE_TOKENS)
  return {
    kind: 'value',
    stage,
    operation: `scores.${Math.floor(index / OPERATION_VALUES)}`,
    first,
    count: 1,
  }
}

/** The one byte string of an input. */
export function readInput(input: Input, source: InputSource): Uint8Array {
  switch (input.kind) {
    case 'value':
      return readValue(input, source)
    case 'threshold': {
      const [tau] = source.value(input.stage, input.operation)
      const at = tau && thresholdLeaf(input.stage, tau, source.vocab)
      return at ? readValue(at, source) : new Uint8Array()
    }
    case 'bundle':
      return source.bundle(input.leaf)
    case 'embedding':
      return source.bundle(embeddingLeaf(source.layout, source.token(input.position)))
    case 'page':
      return source.page(input.page, input.layer, input.head, input.kv)
    case 'tokens': {
      const tokens = Uint32Array.from({ length: input.count }, (_, i) => source.token(input.first + i))
      return new Uint8Array(tokens.buffer)
    }
    case 'piece':
      return source.piece(input.n)
  }
}

const readValue = ({ stage, operation, first, count }: InputOf<'value'>, source: InputSource): Uint8Array =>
  new Uint8Array(Buffer.concat(source.value(stage, operation).slice(first, first + count)))
