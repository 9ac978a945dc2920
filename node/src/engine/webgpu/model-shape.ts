import { A8_BLOCK, PAGE_ROWS, TILE_TOKENS } from '@apus/shared/machine'
/** What the kernels need to know of a bundle's manifest. */
export interface ModelShape {
  readonly layers: number
  readonly width: number
  readonly heads: number
  readonly kvHeads: number
  readonly headSize: number
  readonly hidden: number
  readonly vocab: number
  readonly context: number
  readonly tied: boolean
  /** round(width · ε · 2^(2·residual)), below 2^48. */
  readonly epsilon: number
  readonly formats: {
    readonly residual: number
    readonly qk: number
    readonly gate: number
    readonly hidden: number
  }
  readonly planes: Readonly<Record<'qkv' | 'o' | 'gateUp' | 'down' | 'output', number>>
}

/** A vocabulary has at most 2^18 tokens. */
export const MAX_TILES = 256

/** 32-bit words of one page of one head's keys or values: 64 exponents, then rows of i16. */
export const pageWords = (headSize: number): number => PAGE_ROWS / 4 + (PAGE_ROWS * headSize) / 2

/** Words of one page's attention for one query head: m, E, sum, none, then the weighted sum. */
export const partialWords = (headSize: number): number => 4 + headSize

/** Columns of the residual are read four values at a time; the values after the last are zero. */
export const residualStride = (width: number): number => Math.ceil(width / 4) * 4

export const blocksOf = (values: number): number => Math.ceil(values / A8_BLOCK)
export const tilesOf = (shape: ModelShape): number => Math.ceil(shape.vocab / TILE_TOKENS)
