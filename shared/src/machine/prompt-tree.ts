import { toBase64Url } from '../hashing/digest.ts'
import { merkleLeaf, merkleRoot } from '../hashing/merkle.ts'
import { PROMPT_LEAF_TOKENS } from './sizes.ts'

const PROMPT = 'apus.machine.1/prompt'

/** Hash of a leaf of the prompt tree. */
export const promptLeaf = (leaf: Uint8Array): Uint8Array => merkleLeaf(PROMPT, leaf)

/** Leaves of the prompt tree: 64 token ids each, u32 little-endian. */
export function promptLeaves(
  tokens: readonly number[],
): { readonly bytes: Uint8Array; readonly hash: Uint8Array }[] {
  return Array.from({ length: Math.ceil(tokens.length / PROMPT_LEAF_TOKENS) }, (_, i) => {
    const some = tokens.slice(i * PROMPT_LEAF_TOKENS, (i + 1) * PROMPT_LEAF_TOKENS)
    const bytes = new Uint8Array(Uint32Array.from(some).buffer)
    return { bytes, hash: promptLeaf(bytes) }
  })
}

/** Merkle root of the prompt tree, base64url, so that one token is provable. */
export const promptTokensRoot = (tokens: readonly number[]): string =>
  toBase64Url(merkleRoot(promptLeaves(tokens).map(({ hash }) => hash)))
