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
  readonly epsilon: number
  readonly formats: {
    readonly residual: number
    readonly qk: number
    readonly gate: number
    readonly hidden: number
  }
  readonly planes: Readonly<Record<'qkv' | 'o' | 'gateUp' | 'down' | 'output', number>>
}

/** Positions of a page of keys and values. */
export const PAGE_ROWS = 64
/** Tokens that a sampler's window can hold. */
export const WINDOW_TOKENS = 64
/** Settings of one column's sampler: ten words, then the window. */
export const SETTINGS_WORDS = 10 + WINDOW_TOKENS

export interface Limits {
  /** Positions computed together at most. */
  readonly columns: number
  /** Columns of them that choose a token. */
  readonly heads: number
  readonly sequences: number
  /** Positions of one sequence at most. */
  readonly positions: number
  readonly threads: number
}

/** Pages a sequence can have. */
export const tablePages = (limits: Limits): number => Math.ceil(limits.positions / PAGE_ROWS)

/** Bytes of one page: u8 e[64] ‖ i16[64][head size]. */
export const pageBytes = (shape: ModelShape): number => PAGE_ROWS * (1 + 2 * shape.headSize)

/** Bytes of all pages of 64 positions. */
export const slotBytes = (shape: ModelShape): number => shape.layers * shape.kvHeads * 2 * pageBytes(shape)
