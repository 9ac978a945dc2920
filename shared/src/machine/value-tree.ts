import { merkleLeaf, merkleRoot } from '../hashing/merkle.ts'
import { rangePath, rangePathLength, rootOfRange } from '../hashing/merkle-proof.ts'
import type { Operation } from './steps.ts'

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

function runLeaves(hashes: readonly Uint8Array[], run: number): Uint8Array[] {
  return Array.from({ length: hashes.length / run }, (_, i) =>
    merkleLeaf(RUN, merkleRoot(hashes.slice(i * run, (i + 1) * run))),
  )
}
