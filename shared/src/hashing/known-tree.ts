import { sha256 } from './digest.ts'

const NODE = Uint8Array.of(1)

/**
 * What is known of somebody's Merkle tree: some leaves, some nodes, some paths. Answers every node and path that follows
 * from them. Levels count from the leaves; an odd node is promoted unchanged.
 */
export class KnownTree {
  readonly count: number
  readonly #nodes = new Map<string, Uint8Array>()

  constructor(count: number) {
    this.count = count
  }

  /** Nodes of a level. */
  width(level: number): number {
    return Math.ceil(this.count / 2 ** level)
  }

  /** The level of the top node. */
  get height(): number {
    let level = 0
    while (this.width(level) > 1) level++
    return level
  }

  set(level: number, index: number, hash: Uint8Array): void {
    this.#nodes.set(`${level}.${index}`, hash)
  }

  /** Takes neighbouring nodes of a level. */
  setAll(level: number, first: number, hashes: readonly Uint8Array[]): void {
    for (const [i, hash] of hashes.entries()) this.set(level, first + i, hash)
  }

  /** Takes a node with the siblings above it. */
  setPath(level: number, index: number, hash: Uint8Array, path: readonly Uint8Array[]): void {
    this.set(level, index, hash)
    let used = 0
    for (let l = level, i = index; this.width(l) > 1; l++, i >>= 1) {
      const sibling = (i ^ 1) < this.width(l) ? path[used++] : undefined
      if (sibling !== undefined) this.set(l, i ^ 1, sibling)
    }
  }

  /** A node's hash, or undefined when it does not follow from what is known. */
  node(level: number, index: number): Uint8Array | undefined {
    const key = `${level}.${index}`
    const known = this.#nodes.get(key)
    if (known !== undefined || level === 0) return known
    const left = this.node(level - 1, 2 * index)
    if (left === undefined || 2 * index + 1 >= this.width(level - 1)) return left
    const right = this.node(level - 1, 2 * index + 1)
    if (right === undefined) return undefined
    const hash = sha256(NODE, left, right)
    this.#nodes.set(key, hash)
    return hash
  }

  /** Siblings from a node upwards, or undefined when one of them is not known. */
  path(index: number, level = 0): Uint8Array[] | undefined {
    return this.rangePath(index, 1, level)
  }

  /**
   * The proof of `count` neighbouring nodes: on each level the hash before the first, then the one after the last,
   * where a pair lacks it. Undefined when one of them is not known.
   */
  rangePath(first: number, count: number, level = 0): Uint8Array[] | undefined {
    const path: Uint8Array[] = []
    for (let l = level, from = first, to = first + count - 1; this.width(l) > 1; l++, from >>= 1, to >>= 1) {
      const wanted = [...(from & 1 ? [from - 1] : []), ...(to & 1 || to + 1 >= this.width(l) ? [] : [to + 1])]
      for (const i of wanted) {
        const sibling = this.node(l, i)
        if (sibling === undefined) return undefined
        path.push(sibling)
      }
    }
    return path
  }
}

/** A tree of which all leaves are known. */
export function wholeTree(leaves: readonly Uint8Array[]): KnownTree {
  const tree = new KnownTree(leaves.length)
  tree.setAll(0, 0, leaves)
  return tree
}
