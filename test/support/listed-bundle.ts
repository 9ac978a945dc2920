import { merkleLeaf } from '@apus/shared/hashing'
import { merklePath } from '../../shared/src/hashing/merkle.ts'
import { type MemoryBundle, randomBundle } from './machine/random-model.ts'

/** Data of List-Model for a verifiable class: the manifest and its path to the bundle's root. */
export function listingOf(bundle: MemoryBundle): { manifest: string; path: string } {
  const leaves = bundle.leaves.map(leaf => merkleLeaf('apus.machine.1/bundle', leaf))
  return {
    manifest: Buffer.from(bundle.leaf(0)).toString('base64'),
    path: Buffer.concat(merklePath(leaves, 0)).toString('base64'),
  }
}

/** A bundle for tests in which nothing is computed. */
export const LISTED_BUNDLE = randomBundle({ name: 'listed', heads: 1, context: 4096 }, 1)
