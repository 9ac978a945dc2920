import { errorCode } from '../kit/errors.ts'
import { BundleDomain, type BundleLeaves } from '../machine/bundle-domain.ts'
import { type BundleLayout, bundleLayout, tileAt } from '../machine/layout.ts'
import { decodeManifest } from '../machine/manifest.ts'
import { proven } from './message.ts'

/** Data of Void-Model: a leaf of the bundle with its path, base64; `first`: that of the first segment of its rows. */
export interface VoidProof {
  readonly leaf: string
  readonly path: string
  readonly first?: { readonly leaf: string; readonly path: string }
}

/**
 * The first leaf of a bundle that the machine does not allow, with what proves it to the network; undefined when all are
 * allowed. Takes the leaves in order, and the path of any. Errors: those of the leaves, and `bundle-invalid` for a
 * manifest that no network lists.
 */
export async function findVoidLeaf(
  leaves: BundleLeaves,
  path: (leaf: number) => readonly Uint8Array[],
): Promise<{ readonly leaf: number; readonly proof: VoidProof } | undefined> {
  const domain = new BundleDomain()
  let layout: BundleLayout | undefined
  let firstSegment: Uint8Array | undefined
  for await (const [index, leaf] of leaves) {
    layout ??= bundleLayout(decodeManifest(leaf))
    const segment = tileAt(layout, index)?.segment ?? 0
    try {
      domain.take(leaf)
    } catch (error) {
      if (errorCode(error) !== 'bundle-invalid') throw error
      const proof = proven(leaf, path(index))
      if (segment === 0 || firstSegment === undefined) return { leaf: index, proof }
      return { leaf: index, proof: { ...proof, first: proven(firstSegment, path(index - segment)) } }
    }
    if (segment === 0) firstSegment = leaf
  }
  return undefined
}
