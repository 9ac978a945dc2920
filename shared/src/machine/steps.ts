import type { SamplerSettings } from '../protocol/sampler.ts'
import type { PlaneCount } from './quantizer.ts'
import type { NoiseKey } from './sampler.ts'

/** What one chunk's computation needs besides its inputs (SPEC.md §6). The inputs' order is that of the comments. */
export type Step =
  /** token, tile of its row → values `from` to `to` of the row */
  | {
      readonly kind: 'embed'
      readonly vocab: number
      readonly tileRows: number
      readonly columns: number
      readonly from: number
      readonly to: number
      readonly residual: number
    }
  /** x leaf */
  | { readonly kind: 'norm.part' }
  /** all leaves of the parts */
  | { readonly kind: 'norm.scale'; readonly epsilon: number }
  /** x leaf, scale, gain leaf */
  | { readonly kind: 'norm.quant'; readonly planes: PlaneCount }
  /** A8 leaves of `values` values, tile, and where `residual` is a number the x leaf in which the rows start there */
  | {
      readonly kind: 'linear'
      readonly rows: number
      readonly columns: number
      readonly values: number
      readonly planes: PlaneCount
      readonly residual: number | undefined
    }
  /** qkv leaf in which the head starts at `at`; where `turned`, the frequencies */
  | {
      readonly kind: 'row'
      readonly headSize: number
      readonly at: number
      readonly position: number
      readonly turned: boolean
      readonly limit: number
    }
  /** row, K/V page of which it must be row `row` */
  | { readonly kind: 'link'; readonly headSize: number; readonly row: number }
  /** query row, K page, V page of which `count` rows are seen */
  | { readonly kind: 'page'; readonly headSize: number; readonly count: number; readonly qk: number }
  /** a head's pages in the group */
  | { readonly kind: 'group'; readonly headSize: number }
  /** a head's groups */
  | { readonly kind: 'out'; readonly headSize: number }
  /** values leaf */
  | { readonly kind: 'quant'; readonly planes: PlaneCount }
  /** the gate_up leaves */
  | { readonly kind: 'act'; readonly gate: number; readonly hidden: number; readonly planes: PlaneCount }
  /** a leaf of every segment's part, x leaf */
  | { readonly kind: 'sum' }
  /** logits leaf that starts with token `first`; where there is a window, its tokens */
  | { readonly kind: 'scores'; readonly first: number; readonly sampler: SamplerSettings }
  /** scores leaf that starts with token `first` */
  | { readonly kind: 'max.tile'; readonly first: number }
  /** all tiles */
  | { readonly kind: 'best' }
  /** scores leaf, τ */
  | { readonly kind: 'topk.count'; readonly first: number }
  /** all counts, τ, scores leaf of τ */
  | { readonly kind: 'topk.check'; readonly topK: number; readonly vocab: number }
  /** scores leaf, max, with top-k its τ */
  | { readonly kind: 'topp.mass'; readonly first: number }
  /** scores leaf, max, τ′, with top-k its τ */
  | { readonly kind: 'topp.before'; readonly first: number }
  /** all masses, all befores, max, τ′, scores leaf of τ′, with top-k its τ */
  | { readonly kind: 'topp.check'; readonly topP: number; readonly vocab: number }
  /** scores leaf, the thresholds that there are */
  | {
      readonly kind: 'pick.tile'
      readonly first: number
      readonly noise: NoiseKey
      /** Of the token that is chosen. */
      readonly position: number
    }
  /** the chosen token; where there are stop strings, the pieces of the last chosen tokens, the newest last */
  | {
      readonly kind: 'stop'
      readonly n: number
      readonly promptLength: number
      readonly maximum: number
      readonly context: number
      readonly tokens: readonly number[]
      readonly strings: readonly Uint8Array[]
    }

export type StepOf<K extends Step['kind']> = Extract<Step, { kind: K }>

/** Where a chunk's input comes from; each is one byte string. */
export type Input =
  /** Consecutive leaves of an operation of this position. */
  | {
      readonly kind: 'value'
      readonly stage: number
      readonly operation: string
      readonly first: number
      readonly count: number
    }
  /** The scores leaf of the token that a threshold names; no bytes when there is no such token. */
  | { readonly kind: 'threshold'; readonly stage: number; readonly operation: 'topk.tau' | 'topp.tau' }
  | { readonly kind: 'bundle'; readonly leaf: number }
  /** The tile of the embedding that holds the row of a position's token. */
  | { readonly kind: 'embedding'; readonly position: number }
  | {
      readonly kind: 'page'
      readonly page: number
      readonly layer: number
      readonly head: number
      readonly kv: 0 | 1
    }
  /** `u32` of each token of the sequence from `first`. */
  | { readonly kind: 'tokens'; readonly first: number; readonly count: number }
  /** Of chosen token number n. */
  | { readonly kind: 'piece'; readonly n: number }

/** A part of an operation's leaf, and what it is recomputed from. */
export interface Chunk {
  readonly leaf: number
  /** Bytes of the leaf. */
  readonly from: number
  readonly length: number
  /** Undefined for advice. */
  readonly step: Step | undefined
  readonly inputs: readonly Input[]
}

export interface Operation {
  readonly stage: number
  readonly name: string
  readonly leaves: number
  /** Where leaves are grouped: how many a run has. */
  readonly leavesPerRun: number | undefined
  readonly chunks: number
  /** Where chunks are parts of leaves the values are shown in a dispute, else the hashes of the leaves. */
  readonly shown: 'values' | 'leaves'
  /** Nothing recomputes it: another operation checks it. */
  readonly advice: boolean
  /** One output only is legal: a byte of 1. */
  readonly check: boolean
  leafBytes(leaf: number): number
  chunk(chunk: number): Chunk
}

/** Cuts the values of an operation, leaf behind leaf, into its leaves; bytes too many make the last one longer. */
export function cutLeaves(operation: Operation, values: Uint8Array): Uint8Array[] {
  let at = 0
  return Array.from({ length: operation.leaves }, (_, leaf) => {
    const from = at
    at += operation.leafBytes(leaf)
    return values.slice(from, leaf === operation.leaves - 1 ? undefined : at)
  })
}
