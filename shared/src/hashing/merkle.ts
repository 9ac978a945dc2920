import { sha256 } from './digest.ts'

// A tree's root binds its leaf count, so a node can never pass as a leaf and a padded or shortened tree has another root.
const LEAF = Uint8Array.of(0)
const NODE = Uint8Array.of(1)
const ROOT = Uint8Array.of(2)
const EMPTY = new Uint8Array(32)

/** SHA-256(0x00 ‖ u8 length of domain ‖ domain ‖ bytes). */
export function merkleLeaf(domain: string, bytes: Uint8Array): Uint8Array {
  const name = Buffer.from(domain, 'utf8')
  return sha256(LEAF, Uint8Array.of(name.length), name, bytes)
}

/** All levels from the leaf hashes (level 0) to the single top; an odd node is promoted unchanged. */
export function merkleLevels(leaves: readonly Uint8Array[]): readonly (readonly Uint8Array[])[] {
  const levels: (readonly Uint8Array[])[] = [leaves]
  let level = leaves
  while (level.length > 1) {
    const next: Uint8Array[] = []
    for (let i = 0; i < level.length; i += 2) {
      const left = level[i] as Uint8Array
      const right = level[i + 1]
      next.push(right === undefined ? left : sha256(NODE, left, right))
    }
    levels.push(next)
    level = next
  }
  return levels
}

/** SHA-256(0x02 ‖ u32 little-endian leaf count ‖ top node); the top of an empty tree is 32 zero bytes. */
export function merkleRoot(leaves: readonly Uint8Array[]): Uint8Array {
  return sealRoot(leaves.length, merkleLevels(leaves).at(-1)?.[0] ?? EMPTY)
}

/** Sibling hashes from the leaf upwards; levels where the node is promoted contribute nothing. */
export function merklePath(leaves: readonly Uint8Array[], index: number): Uint8Array[] {
  if (!Number.isInteger(index) || index < 0 || index >= leaves.length)
    throw new RangeError('leaf index out of range')
  const path: Uint8Array[] = []
  let i = index
  for (const level of merkleLevels(leaves)) {
    const sibling = level[i ^ 1]
    if (sibling !== undefined) path.push(sibling)
    i >>= 1
  }
  return path
}

/** True when `leaf` (a leaf hash) stands at `index` of the tree with `count` leaves and this root. */
export function verifyMerklePath(
  root: Uint8Array,
  count: number,
  index: number,
  leaf: Uint8Array,
  path: readonly Uint8Array[],
): boolean {
  if (!Number.isInteger(index) || index < 0 || index >= count) return false
  let node = leaf
  let used = 0
  for (let i = index, width = count; width > 1; i >>= 1, width = (width + 1) >> 1) {
    if ((i ^ 1) >= width) continue
    const sibling = path[used++]
    if (sibling === undefined || sibling.length !== 32) return false
    node = (i & 1) === 0 ? sha256(NODE, node, sibling) : sha256(NODE, sibling, node)
  }
  return used === path.length && Buffer.compare(sealRoot(count, node), root) === 0
}

/** The root over a top node: it binds the number of leaves. */
export function sealRoot(count: number, top: Uint8Array): Uint8Array {
  const size = Buffer.alloc(4)
  size.writeUInt32LE(count)
  return sha256(ROOT, size, top)
}
