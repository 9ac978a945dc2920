import { merkleLeaf, merkleRoot } from '../hashing/merkle.ts'
import { rangePath, rangePathLength, rootOfRange } from '../hashing/merkle-proof.ts'
import type { Operation } from './steps.ts'

const VALUE = 'apus.machine.1/value'
const RUN = 'apus.machine.1/run'

export const valueLeaf = (bytes: Uint8Array): Uint8Array => merkleLeaf(VALUE, bytes)

/** Digest of a value: the root over its leaves. */
export const valueDigest = (leaves: readonly Uint8Array[]): Uint8Array => merkleRoot(leaves.map(valueLeaf))

/** Digest of an operation: of its value, or where its leaves are in runs the root over the runs' roots. */
export const operationDigest = (
  leaves: readonly Uint8Array[],
  leavesPerRun: number | undefined,
): Uint8Array => digestOfLeaves({ leavesPerRun }, leaves.map(valueLeaf))

/** An operation's digest from the hashes of its leaves. */
export function digestOfLeaves(
  { leavesPerRun }: Pick<Operation, 'leavesPerRun'>,
  hashes: readonly Uint8Array[],
): Uint8Array {
  return merkleRoot(leavesPerRun === undefined ? hashes : runHashes(hashes, leavesPerRun))
}

/** Proof of neighbouring leaves of an operation, within one run where leaves are grouped. */
export function valuePath(
  { leavesPerRun }: Pick<Operation, 'leavesPerRun'>,
  hashes: readonly Uint8Array[],
  first: number,
  count: number,
): Uint8Array[] {
  if (leavesPerRun === undefined) return rangePath(hashes, first, count)
  const run = Math.floor(first / leavesPerRun)
  const inRun = hashes.slice(run * leavesPerRun, (run + 1) * leavesPerRun)
  return [
    ...rangePath(inRun, first % leavesPerRun, count),
    ...rangePath(runHashes(hashes, leavesPerRun), run, 1),
  ]
}

/** The digest that neighbouring leaves and their proof give, or undefined when they have no such place. */
export function digestOfRange(
  { leaves, leavesPerRun }: Pick<Operation, 'leaves' | 'leavesPerRun'>,
  first: number,
  hashes: readonly Uint8Array[],
  path: readonly Uint8Array[],
): Uint8Array | undefined {
  if (leavesPerRun === undefined) return rootOfRange(leaves, first, hashes, path)
  const inside = rangePathLength(leavesPerRun, first % leavesPerRun, hashes.length)
  const root = rootOfRange(leavesPerRun, first % leavesPerRun, hashes, path.slice(0, inside))
  const run = Math.floor(first / leavesPerRun)
  return root && rootOfRange(leaves / leavesPerRun, run, [merkleLeaf(RUN, root)], path.slice(inside))
}

/** A leaf hash for each run of this many leaves, from the hashes of the leaves. */
export const runHashes = (hashes: readonly Uint8Array[], leavesPerRun: number): Uint8Array[] =>
  Array.from({ length: hashes.length / leavesPerRun }, (_, i) =>
    merkleLeaf(RUN, merkleRoot(hashes.slice(i * leavesPerRun, (i + 1) * leavesPerRun))),
  )
