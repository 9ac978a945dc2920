import { fromBase64, merkleLeaf, toBase64Url } from '@apus/shared/hashing'
import { checkpointLeaf, decodePieces, piecesInLeaf } from '@apus/shared/machine'
import type { RevealedResult } from '@apus/shared/protocol'
import { equalBytes, fromHashes } from '../../../shared/src/hashing/bytes.ts'
import { rootOfRange } from '../../../shared/src/hashing/merkle-proof.ts'
import { pieceLeaf } from '../../../shared/src/machine/digests.ts'
import { pieceAddress } from '../../../shared/src/machine/layout.ts'
import { disputePayloads } from '../../../shared/src/protocol/dispute.ts'
import { type CourtJob, refuse } from './court-job.ts'

interface Shown {
  readonly leaf: string
  readonly path: string
}

/** Refuses a Prove-Structure that shows no checkpoint of the seat, or one that breaks no rule. */
export function demandBrokenRule({ result, tokens }: CourtJob, index: number, data: unknown): void {
  const shown = disputePayloads['Prove-Structure'].parse(data)
  demandUnder(shown, checkpointLeaf, result.count, index, result.checkpointRoot)
  if (!isRuleBroken(fromBase64(shown.leaf), index, result, tokens)) refuse('not-proven')
}

/** Refuses a Prove-Answer that shows no piece of the seat, or the piece of its own token. */
export function demandWrongPiece(job: CourtJob, index: number, data: unknown): void {
  const { result, terms, model, tokens } = job
  const { layout, manifest } = terms
  const { piece, pieces } = disputePayloads['Prove-Answer'].parse(data)
  const at = pieceAddress(layout, tokens[index] ?? refuse('out-of-range'))
  demandUnder(piece, pieceLeaf, result.count, index, result.answerRoot)
  demandUnder(pieces, leaf => merkleLeaf('apus.machine.1/bundle', leaf), layout.leafCount, at.leaf, model)
  const count = piecesInLeaf(manifest.vocab, at.leaf - layout.pieces)
  const right = decodePieces(fromBase64(pieces.leaf), count)[at.index]
  if (equalBytes(right, fromBase64(piece.leaf))) refuse('not-proven')
}

function demandUnder(
  { leaf, path }: Shown,
  hash: (leaf: Uint8Array) => Uint8Array,
  count: number,
  index: number,
  expected: string,
): void {
  const root = rootOfRange(count, index, [hash(fromBase64(leaf))], fromHashes(path))
  if (!root || toBase64Url(root) !== expected) refuse('wrong-path')
}

/** Whether a checkpoint leaf breaks a rule by itself (contracts-lua/SPEC.md, Prove-Structure). */
function isRuleBroken(
  leaf: Uint8Array,
  index: number,
  { count, finish }: RevealedResult,
  tokens: readonly number[],
): boolean {
  if (leaf.length !== 41) return true
  const bytes = Buffer.from(leaf)
  const flag = bytes.readUInt8(8)
  if (bytes.readUInt32LE(0) !== index || bytes.readUInt32LE(4) !== tokens[index] || flag > 4) return true
  const last = index === count - 1
  if ((flag !== 0) !== last) return true
  return last && (flag === 1 || flag === 2 ? 'stop' : 'length') !== finish
}
