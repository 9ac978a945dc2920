import type { Manifest } from '@apus/shared/machine'
import { MAX_TILE_ROWS, PAGE_ROWS, TILE_WEIGHTS } from '@apus/shared/machine/sizes'

/** Tokens that a penalty can look back on: `MAX_PENALTY_WINDOW`, whose module is too large for every thread to load. */
export const WINDOW_TOKENS = 64

/** Rows of a tensor that lie together in memory. */
export const BLOCK_ROWS = 8
/** A bundle's tile at most: 16,384 weights with multipliers, and 64 rows' shifts and biases. */
export const TILE_BYTES = TILE_WEIGHTS + TILE_WEIGHTS / 16 + MAX_TILE_ROWS * 5
/** Settings of one column's sampler: ten words, then the window. */
export const SETTINGS_WORDS = 10 + WINDOW_TOKENS

export interface Limits {
  /** Positions computed together at most. */
  readonly columns: number
  /** Columns of them that choose a token. */
  readonly choosing: number
  readonly sequences: number
  /** Positions of one sequence at most. */
  readonly positions: number
  readonly threads: number
}

/** Pages a sequence can have. */
export const tablePages = (limits: Limits): number => Math.ceil(limits.positions / PAGE_ROWS)

/** Bytes of one page: u8 e[64] ‖ i16[64][head size]. */
export const pageBytes = (m: Manifest): number => PAGE_ROWS * (1 + 2 * m.headSize)

/** Bytes of all pages of 64 positions. */
export const slotBytes = (m: Manifest): number => m.layers * m.kvHeads * 2 * pageBytes(m)
