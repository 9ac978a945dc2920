import { sha256 } from './digest.ts'
import { wholeTree } from './known-tree.ts'
import { sealRoot } from './merkle.ts'

const NODE = Uint8Array.of(1)

/** The root that neighbouring leaves and their proof give. */
export function rootOfRange(
  count: number,
  first: number,
  hashes: readonly Uint8Array[],
  path: readonly Uint8Array[],
): Uint8Array | undefined {
  const top = topOfRange(count, first, hashes, path)
  return top && sealRoot(count, top)
}

/** The proof of `count` neighbouring leaves of a tree of which all leaf hashes are given. */
export function rangePath(hashes: readonly Uint8Array[], first: number, count: number): Uint8Array[] {
  const path = wholeTree(hashes).rangePath(first, count)
  if (path === undefined) throw new RangeError('a path is missing in a tree whose leaves are all known')
  return path
}

/** How many hashes such a proof has in a tree of `width` leaves. */
export function rangePathLength(width: number, first: number, count: number): number {
  let length = 0
  for (let w = width, from = first, to = first + count - 1; w > 1; w = (w + 1) >> 1, from >>= 1, to >>= 1) {
    length += (from & 1) + (to & 1 || to + 1 >= w ? 0 : 1)
  }
  return length
}

/** The top node over neighbouring leaves and what `rangePath` gives, or undefined when they do not fit together. */
export function topOfRange(
  count: number,
  first: number,
  hashes: readonly Uint8Array[],
  path: readonly Uint8Array[],
): Uint8Array | undefined {
  if (hashes.length === 0 || first < 0 || first + hashes.length > count) return undefined
  let used = 0
  let level = hashes
  for (let width = count, from = first; width > 1; width = (width + 1) >> 1, from >>= 1) {
    const nodes = [...level]
    const end = from + nodes.length - 1
    const before = from & 1 ? path[used++] : undefined
    const after = !(end & 1) && end + 1 < width ? path[used++] : undefined
    if ((from & 1 && !before) || (!(end & 1) && end + 1 < width && !after)) return undefined
    if (before) nodes.unshift(before)
    if (after) nodes.push(after)
    level = pairUp(nodes)
  }
  return used === path.length ? level[0] : undefined
}

function pairUp(nodes: readonly Uint8Array[]): Uint8Array[] {
  const next: Uint8Array[] = []
  for (let i = 0; i < nodes.length; i += 2) {
    const left = nodes[i] as Uint8Array
    const right = nodes[i + 1]
    next.push(right ? sha256(NODE, left, right) : left)
  }
  return next
}
