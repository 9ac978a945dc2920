import { merkleLeaf, merkleRoot } from '../hashing/merkle.ts'
import { encodeValues } from './sequence.ts'
import type { StopFlag } from './stop.ts'
import { valueDigest } from './value-tree.ts'

const PAGE = 'apus.machine.1/page'
const CHECKPOINT = 'apus.machine.1/checkpoint'
const PIECE = 'apus/answer-piece'

/** Digest of x_final, as a checkpoint holds it. */
export const residualDigest = (x: Int32Array): Uint8Array => valueDigest(encodeValues(x))

/** `u32 n ‖ u32 token ‖ u8 stop ‖ digest of x_final`. */
export function encodeCheckpoint(n: number, token: number, stop: StopFlag, residual: Uint8Array): Uint8Array {
  const leaf = Buffer.alloc(41)
  leaf.writeUInt32LE(n)
  leaf.writeUInt32LE(token, 4)
  leaf.writeUInt8(stop, 8)
  leaf.set(residual, 9)
  return new Uint8Array(leaf)
}

export const checkpointLeaf = (checkpoint: Uint8Array): Uint8Array => merkleLeaf(CHECKPOINT, checkpoint)
export const pageLeaf = (page: Uint8Array): Uint8Array => merkleLeaf(PAGE, page)
export const pieceLeaf = (piece: Uint8Array): Uint8Array => merkleLeaf(PIECE, piece)

/** Merkle root over the pieces (bytes) of the chosen tokens, in order. */
export const answerRoot = (pieces: readonly Uint8Array[]): Uint8Array => merkleRoot(pieces.map(pieceLeaf))

/** Hash of a bundle's leaf. */
export const bundleLeaf = (leaf: Uint8Array): Uint8Array => merkleLeaf('apus.machine.1/bundle', leaf)
