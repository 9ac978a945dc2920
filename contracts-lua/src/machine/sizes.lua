--- Sizes and domains of the machine, each in one place; shared/src/machine/sizes.ts says the same.
local sizes = {
  LEAF_VALUES = 1024, -- values of a leaf
  OPERATION_VALUES = 8192, -- values that one operation computes at most
  A8_BLOCK = 256, -- values that share a scale after quantisation
  NORM_BLOCK = 32, -- values of which a norm sums the squares together

  GROUP = 32, -- columns of a tensor that share a multiplier
  SEGMENT = 8192, -- columns that one linear step reads at most
  TILE_WEIGHTS = 16384,
  MAX_TILE_ROWS = 64,
  PIECES_PER_LEAF = 64, -- pieces of the vocabulary in one leaf of a bundle
  MAX_PIECE_BYTES = 256,
  TOKENIZER_LEAF = 16384, -- bytes of the tokenizer in one leaf of a bundle

  PAGE_ROWS = 64, -- positions of a page of keys or values
  GROUP_PAGES = 64, -- pages that become one node of attention
  HEAD_SET = 16, -- heads whose pages of a group share an operation
  TILE_TOKENS = 1024, -- tokens of a sampler's tile
  RANKED_BYTES = 8, -- a value and its token: i32, u32

  PROMPT_LEAF_TOKENS = 64, -- tokens of a leaf of the prompt tree
  CHECKPOINT_BYTES = 41, -- u32 n, u32 token, u8 stop, digest of x_final
  CHECKPOINT_DIGEST_AT = 9, -- bytes before a checkpoint's digest

  VALUE = 'apus.machine.1/value',
  RUN = 'apus.machine.1/run',
  PAGE = 'apus.machine.1/page',
  CHECKPOINT = 'apus.machine.1/checkpoint',
  PROMPT = 'apus.machine.1/prompt',
  BUNDLE = 'apus.machine.1/bundle',
  PIECE = 'apus/answer-piece',
}

--- How many parts of this size hold `n`.
function sizes.over(n, size)
  return (n + size - 1) // size
end

return sizes
