/** The version of the machine that this code means; it stands in every manifest and every result. */
export const MACHINE_VERSION = 1

/** Saturation bound of every stored i32: one bit below the type, so that a sum of two never wraps. */
export const SAT = 2 ** 30 - 1
/** Values per scale of an A8 vector, columns per 64-bit step of a linear. */
export const BLOCK = 256
/** Weight columns that share one multiplier. */
export const GROUP = 32
/** Values of an i32 vector or A8 vector in one leaf. */
export const LEAF_VALUES = 1024
/** i32 values of one operation: 32 KB, so that its raw value fits one message. */
export const OPERATION_VALUES = 8192
/** Columns after which a linear rounds: its inputs stay inside a witness and its sum far inside 63 bits. */
export const SEGMENT = 8192
/** Weights of a tile and rows of a tile at most; a tile is one bundle leaf and what one linear chunk reads. */
export const TILE_WEIGHTS = 16_384
export const TILE_ROWS = 64
/** Values per partial sum of a norm. */
export const NORM_BLOCK = 32
/** Positions of a page and pages of a group. */
export const PAGE = 64
export const PAGES_PER_GROUP = 64
/** Heads whose pages share an operation: 16 heads × 64 pages = 1,024 leaves. */
export const HEADS_PER_OPERATION = 16
/** Largest mantissas of key/value rows and of query rows. */
export const KV_LIMIT = 32_640
export const QUERY_LIMIT = 2047
/** Format of norm outputs and gains, and of logits and scores. */
export const NORM_FORMAT = 18
export const LOGIT_FORMAT = 16
/** Tokens whose pieces share a bundle leaf, and prompt tokens of a leaf. */
export const PIECES_PER_LEAF = 64
export const PROMPT_LEAF_TOKENS = 64
export const TOKENIZER_LEAF_BYTES = 16_384

export const MAX_MULTIPLIER = 2047
export const MIN_SHIFT = 1
export const MAX_SHIFT = 56
/** Bounds of shift − 2 − residual for rows that are embedded. */
export const MIN_EMBED_SHIFT = -12
export const MAX_EMBED_SHIFT = 30

export const LIMITS = {
  layers: 128,
  width: 8192,
  heads: 128,
  queryWidth: 8192,
  headSizes: [8, 16, 32, 64, 128],
  hidden: 32_768,
  vocab: 2 ** 18,
  context: 2 ** 18,
  operationsPerStage: 128,
  leavesPerOperation: 1024,
  manifestBytes: 16_384,
  nameBytes: 128,
  stopTokens: 64,
  pieceBytes: 256,
  tokenizerBytes: 64 * 2 ** 20,
  frequency: 2 ** 44,
  epsilon: 2 ** 48,
  maxTokens: 16_384,
  stopStrings: 8,
  stopStringBytes: 64,
  /** Chosen tokens whose pieces a stop string may span, and tokens that penalties look back on. */
  stopWindow: 64,
  penaltyWindow: 64,
  topK: 1024,
} as const

export const DOMAIN = {
  value: 'apus.machine.1/value',
  run: 'apus.machine.1/run',
  bundle: 'apus.machine.1/bundle',
  prompt: 'apus.machine.1/prompt',
  page: 'apus.machine.1/page',
  checkpoint: 'apus.machine.1/checkpoint',
  piece: 'apus.machine.1/piece',
  noise: 'apus.machine.1/noise',
} as const
