import { ApusError } from '../kit/errors.ts'
import { checkLeaf, demandSameShifts } from './domain.ts'
import { type BundleLayout, bundleLayout, tileAt } from './layout.ts'
import { decodeTile } from './linear.ts'
import { decodeManifest, type Manifest } from './manifest.ts'

/** A bundle's leaves in order from the manifest on, each already known to belong to its root. */
export type BundleLeaves =
  | AsyncIterable<readonly [index: number, leaf: Uint8Array]>
  | Iterable<readonly [index: number, leaf: Uint8Array]>

/** Checks the leaves of one bundle in their order (SPEC.md §5), from its beginning or from any section on. Errors: `bundle-invalid`. */
export class BundleDomain {
  #manifest: Manifest | undefined
  #layout: BundleLayout | undefined
  #next: number
  /** Of the rows whose first segment came last. */
  #shifts: Uint8Array = new Uint8Array()

  constructor(manifest?: Manifest, next = 0) {
    this.#manifest = manifest
    this.#layout = manifest && bundleLayout(manifest)
    this.#next = next
  }

  take(leaf: Uint8Array): void {
    const index = this.#next++
    if (index === 0) {
      this.#manifest = decodeManifest(leaf)
      this.#layout = bundleLayout(this.#manifest)
    }
    if (!(this.#manifest && this.#layout)) throw new RangeError('the manifest must be the first leaf')
    if (index >= this.#layout.leafCount) throw wrongCount()
    checkLeaf(this.#manifest, this.#layout, index, leaf)
    const tile = tileAt(this.#layout, index)
    if (!tile || tile.tensor.segments === 1) return
    const { shifts } = decodeTile(leaf, tile.rows, tile.columns)
    if (tile.segment === 0) this.#shifts = shifts
    else demandSameShifts(this.#shifts, shifts)
  }

  /** Says that there are no more leaves. */
  end(): void {
    if (this.#next !== this.#layout?.leafCount) throw wrongCount()
  }
}

/** The same leaves, none of which was outside the domain, and none missing at the end. Errors: `bundle-invalid`, those of the leaves. */
export async function* inDomain(
  leaves: BundleLeaves,
): AsyncGenerator<readonly [index: number, leaf: Uint8Array]> {
  const domain = new BundleDomain()
  for await (const numbered of leaves) {
    domain.take(numbered[1])
    yield numbered
  }
  domain.end()
}

const wrongCount = (): ApusError =>
  new ApusError('bundle-invalid', 'The bundle does not have as many leaves as its manifest says.')
