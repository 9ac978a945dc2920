// Sizes of the machine, each in one place; contracts-lua/src/machine/sizes.lua says the same.

/** Values of a leaf. */
export const LEAF_VALUES = 1024
/** Values that one operation computes at most. */
export const OPERATION_VALUES = 8192
/** Values that share a scale after quantisation. */
export const A8_BLOCK = 256
/** Values of which a norm sums the squares together. */
export const NORM_BLOCK = 32

/** Columns of a tensor that share a multiplier. */
export const GROUP = 32
/** Columns that one linear step reads at most. */
export const SEGMENT = 8192
/** Weights of a tile at most. */
export const TILE_WEIGHTS = 16_384
export const MAX_TILE_ROWS = 64
/** Pieces of the vocabulary in one leaf of a bundle. */
export const PIECES_PER_LEAF = 64
export const MAX_PIECE_BYTES = 256
/** Bytes of the tokenizer in one leaf of a bundle. */
export const TOKENIZER_LEAF = 16_384

/** Positions of a page of keys or values. */
export const PAGE_ROWS = 64
/** Pages that become one node of attention. */
export const GROUP_PAGES = 64
/** Heads whose pages of a group share an operation. */
export const HEAD_SET = 16
/** Tokens of a sampler's tile. */
export const TILE_TOKENS = 1024
/** A value and its token: i32, u32. */
export const RANKED_BYTES = 8

/** Tokens of a leaf of the prompt tree. */
export const PROMPT_LEAF_TOKENS = 64
/** `u32 n ‖ u32 token ‖ u8 stop ‖ digest of x_final`. */
export const CHECKPOINT_BYTES = 41
/** Where a checkpoint's digest of x_final begins; what stands before it from byte 4 on is the head's value. */
export const CHECKPOINT_DIGEST_AT = 9
