import { fromBase64, fromHashes } from '../hashing/bytes.ts'
import { toBase64Url } from '../hashing/digest.ts'
import { rootOfRange } from '../hashing/merkle-proof.ts'
import { bundleLeaf, checkpointLeaf, pieceLeaf } from '../machine/digests.ts'
import { decodePieces, pieceAddress, piecesInLeaf } from '../machine/layout.ts'
import type { RunTerms } from '../machine/plan-parts.ts'
import { promptLeaf } from '../machine/prompt-tree.ts'
import { CHECKPOINT_BYTES } from '../machine/sizes.ts'
import type { DisputePayload, RevealedResult } from '../protocol/dispute.ts'
import { refused } from './refused.ts'

const TOKEN_BYTES = 4
const PROMPT_LEAF_BYTES = 256
const MAX_FLAG = 4
const FLAG_AT = 8

/** What the accused committed to, and what the job and the model fix. */
export interface Accusation {
  readonly terms: RunTerms
  /** Bundle root and root of the prompt's tokens, base64url. */
  readonly model: string
  readonly promptTokens: string
  readonly result: RevealedResult
  /** Chosen tokens that the accused revealed. */
  readonly tokens: readonly number[]
  readonly index: number
}

/**
 * The rule that a checkpoint, or a leaf of the prompt, breaks by itself; undefined when it breaks none. Errors:
 * `wrong-path`.
 */
export function brokenRule(
  { terms, promptTokens, result, tokens, index }: Accusation,
  { leaf: shown, path, tree, count }: DisputePayload<'Prove-Structure'>,
): string | undefined {
  const leaf = fromBase64(shown)
  if (tree === 'prompt') {
    mustStand(count ?? 0, index, promptLeaf(leaf), path, promptTokens)
    return brokenPrompt(terms, leaf, index, count ?? 0, result.count)
  }
  mustStand(result.count, index, checkpointLeaf(leaf), path, result.checkpointRoot)
  return brokenCheckpoint(leaf, index, result, tokens)
}

/** The rule that a checkpoint leaf of the accused breaks by itself: it says its place and token, and exactly the last one stops. */
export function brokenCheckpoint(
  leaf: Uint8Array,
  index: number,
  { count, finish: said }: Pick<RevealedResult, 'count' | 'finish'>,
  tokens: readonly number[],
): string | undefined {
  if (leaf.length !== CHECKPOINT_BYTES) return `has ${leaf.length} bytes instead of ${CHECKPOINT_BYTES}`
  const bytes = Buffer.from(leaf)
  const flag = bytes.readUInt8(FLAG_AT)
  if (bytes.readUInt32LE(0) !== index) return `has number ${bytes.readUInt32LE(0)}`
  if (tokenOf(leaf) !== tokens[index])
    return `has token ${tokenOf(leaf)}, and the miner revealed ${tokens[index]}`
  if (flag > MAX_FLAG) return `has stop flag ${flag}, which does not exist`
  const isLast = index === count - 1
  if (!isLast) return flag === 0 ? undefined : `stops with flag ${flag} and is not the last`
  if (flag === 0) return 'is the last and does not stop'
  const finish = flag === 1 || flag === 2 ? 'stop' : 'length'
  return finish === said ? undefined : `ends by ${finish}, and the result says ${said}`
}

function brokenPrompt(
  { manifest }: RunTerms,
  leaf: Uint8Array,
  index: number,
  count: number,
  chosen: number,
): string | undefined {
  const isFull = leaf.length === PROMPT_LEAF_BYTES
  const isCut = leaf.length > 0 && leaf.length < PROMPT_LEAF_BYTES && leaf.length % TOKEN_BYTES === 0
  if (!isFull && !(isCut && index === count - 1)) return `has ${leaf.length} bytes`
  const length = (index * PROMPT_LEAF_BYTES + leaf.length) / TOKEN_BYTES
  if (length > manifest.context) return 'is longer than the context'
  if (index === count - 1 && length + chosen - 1 > manifest.context)
    return `leaves no room for ${chosen} tokens within the context`
  const tokens = Buffer.from(leaf)
  for (let at = 0; at < leaf.length; at += TOKEN_BYTES) {
    if (tokens.readUInt32LE(at) >= manifest.vocab)
      return `has token ${tokens.readUInt32LE(at)}, which the model does not have`
  }
  return undefined
}

/** The piece that the accused gave for a token and the piece of the bundle. Errors: `wrong-path`, `bad-bundle`. */
export function shownPieces(
  { terms, model, result, tokens, index }: Accusation,
  { piece, pieces }: DisputePayload<'Prove-Answer'>,
): { readonly token: number; readonly said: Uint8Array; readonly own: Uint8Array } {
  const said = fromBase64(piece.leaf)
  const block = fromBase64(pieces.leaf)
  mustStand(result.count, index, pieceLeaf(said), piece.path, result.answerRoot)
  const token = tokens[index]
  if (token === undefined) throw refused('wrong-path', 'The answer has no token with this index.')
  const { layout, manifest } = terms
  const at = pieceAddress(layout, token)
  mustStand(layout.leafCount, at.leaf, bundleLeaf(block), pieces.path, model)
  const own = decodePieces(block, piecesInLeaf(manifest.vocab, at.leaf - layout.pieces))[at.index]
  if (own === undefined) throw refused('bad-bundle', 'The leaf of the bundle has no piece for the token.')
  return { token, said, own }
}

const tokenOf = (checkpoint: Uint8Array): number => Buffer.from(checkpoint).readUInt32LE(4)

function mustStand(count: number, index: number, hash: Uint8Array, path: string, root: string): void {
  const found = rootOfRange(count, index, [hash], fromHashes(path))
  if (!found || toBase64Url(found) !== root)
    throw refused('wrong-path', 'The path does not prove a leaf under its root.')
}
