import { toBase64Url } from '../hashing/digest.ts'
import { merkleLeaf, merkleRoot } from '../hashing/merkle.ts'

const TOKENS_PER_LEAF = 64
const PROMPT = 'apus.machine.1/prompt'

/** Leaves of the prompt tree: 64 token ids each, u32 little-endian. */
export function promptLeaves(
  tokens: readonly number[],
): { readonly bytes: Uint8Array; readonly hash: Uint8Array }[] {
  return Array.from({ length: Math.ceil(tokens.length / TOKENS_PER_LEAF) }, (_, i) => {
    const some = tokens.slice(i * TOKENS_PER_LEAF, (i + 1) * TOKENS_PER_LEAF)
    const bytes = new Uint8Array(Uint32Array.from(some).buffer)
    return { bytes, hash: merkleLeaf(PROMPT, bytes) }
  })
}

/** Merkle root of the prompt tree, base64url, so that one token is provable. */
export const promptTokensRoot = (tokens: readonly number[]): string =>
  toBase64Url(merkleRoot(promptLeaves(tokens).map(({ hash }) => hash)))
