export { BundleDomain, type BundleLeaves, inDomain } from './bundle-domain.ts'
export { answerRoot, bundleLeaf, checkpointLeaf } from './digests.ts'
export { EMBEDDING_SHIFTS, MAX_MULTIPLIER, SHIFTS } from './domain.ts'
export { feeding, type MachineEngine, type RunRequest, type RunResult } from './engine.ts'
export { type BundleLayout, bundleLayout, decodePieces, piecesInLeaf, type Tensor, tileOf } from './layout.ts'
export { decodeTile, tileRows } from './linear.ts'
export { decodeManifest, longestContext, MACHINE_CLASS, type Manifest, SHAPE_LIMITS } from './manifest.ts'
export type { BundleReader } from './model.ts'
export { bitlen, mulrs, rs, rsBig, SAT, satBig } from './numbers.ts'
export { checkRequest, Oracle } from './oracle.ts'
export { promptTokensRoot } from './prompt-tree.ts'
export { angle, firstRows } from './rows.ts'
export { type RunLeaves, runRoots } from './run-leaves.ts'
export { RunRecorder } from './run-recorder.ts'
export { gumbel, jobNoise, type NoiseKey } from './sampler.ts'
export { cosine, exp2n, log2q, philox, rsqrt, sigmoid, sine } from './scalars.ts'
export {
  A8_BLOCK,
  CHECKPOINT_BYTES,
  GROUP,
  LEAF_VALUES,
  MAX_PIECE_BYTES,
  PAGE_ROWS,
  PIECES_PER_LEAF,
  SEGMENT,
  TILE_TOKENS,
  TOKENIZER_LEAF,
} from './sizes.ts'
export { EXP2, LOG2, SIGMOID, SIN } from './tables.ts'
