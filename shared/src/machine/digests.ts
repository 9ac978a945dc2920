import { merkleLeaf, merkleRoot } from '../hashing/merkle.ts'
import { encodeValues } from './sequence.ts'
import type { StopFlag } from './stop.ts'

const VALUE = 'apus.machine.1/value'
const RUN = 'apus.machine.1/run'
const PAGE = 'apus.machine.1/page'
const CHECKPOINT = 'apus.machine.1/checkpoint'
const PIECE = 'apus/answer-piece'

/** Digest of a value: the root over its leaves. */
export const valueDigest = (leaves: readonly Uint8Array[]): Uint8Array =>
  merkleRoot(leaves.map(leaf => merkleLeaf(VALUE, leaf)))

/** Digest of an operation: of its value, or where its leaves are in runs the root over the runs' roots. */
export function operationDigest(leaves: readonly Uint8Array[], run: number | undefined): Uint8Array {
  return run === undefined ? valueDigest(leaves) : merkleRoot(runLeaves(leaves, run))
}

/** A leaf hash for each run of this many leaves. */
export const runLeaves = (leaves: readonly Uint8Array[], run: number): Uint8Array[] =>
  Array.from({ length: leaves.length / run }, (_, i) =>
    merkleLeaf(RUN, valueDigest(leaves.slice(i * run, (i + 1) * run))),
  )

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
