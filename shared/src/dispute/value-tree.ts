import { merkleLeaf, merkleRoot, sealRoot } from '../hashing/merkle.ts'
import type { Operation } from '../machine/steps.ts'
import { KnownTree, topOfRange } from './known-tree.ts'

const VALUE = 'apus.machine.1/value'
const RUN = 'apus.machine.1/run'

export const valueLeaf = (bytes: Uint8Array): Uint8Array => merkleLeaf(VALUE, bytes)

type Grouping = Pick<Operation, 'leaves' | 'run'>

/** An operation's digest from the hashes of its leaves. */
export function digestOfLeaves({ run }: Grouping, hashes: readonly Uint8Array[]): Uint8Array {
  return run === undefined ? merkleRoot(hashes) : merkleRoot(runLeaves(hashes, run))
}

/** Proof of neighbouring leaves of an operation, within one run where leaves are grouped. */
export function valuePath(
  { run }: Grouping,
  hashes: readonly Uint8Array[],
  first: number,
  count: number,
): Uint8Array[] {
  if (run === undefined) return rangePath(hashes, first, count)
  const at = Math.floor(first / run)
  return [
    ...rangePath(hashes.slice(at * run, (at + 1) * run), first % run, count),
    ...rangePath(runLeaves(hashes, run), at, 1),
  ]
}

/** The digest that neighbouring leaves and their proof give, or undefined when they have no such place. */
export function digestOfRange(
  { leaves, run }: Grouping,
  first: number,
  hashes: readonly Uint8Array[],
  path: readonly Uint8Array[],
): Uint8Array | undefined {
  if (run === undefined) return rootOfRange(leaves, first, hashes, path)
  const inside = rangePathLength(run, first % run, hashes.length)
  const root = rootOfRange(run, first % run, hashes, path.slice(0, inside))
  const runs = leaves / run
  return root && rootOfRange(runs, Math.floor(first / run), [merkleLeaf(RUN, root)], path.slice(inside))
}

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

function runLeaves(hashes: readonly Uint8Array[], run: number): Uint8Array[] {
  return Array.from({ length: hashes.length / run }, (_, i) =>
    merkleLeaf(RUN, merkleRoot(hashes.slice(i * run, (i + 1) * run))),
  )
}

function rangePath(hashes: readonly Uint8Array[], first: number, count: number): Uint8Array[] {
  const tree = new KnownTree(hashes.length)
  tree.setAll(0, 0, hashes)
  const path = tree.rangePath(first, count)
  if (path === undefined) throw new RangeError('a tree of which all leaves are known has every path')
  return path
}

function rangePathLength(width: number, first: number, count: number): number {
  let length = 0
  for (let w = width, from = first, to = first + count - 1; w > 1; w = (w + 1) >> 1, from >>= 1, to >>= 1) {
    length += (from & 1) + (to & 1 || to + 1 >= w ? 0 : 1)
  }
  return length
}
