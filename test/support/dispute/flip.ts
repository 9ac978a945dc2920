import { MemoryBundle } from '../machine/random-model.ts'

/** The bundle with one bit of one leaf flipped: what a miner has whose weights are wrong by next to nothing. */
export function flipBit(bundle: MemoryBundle, leaf: number, byte: number, bit = 0): MemoryBundle {
  const leaves = bundle.leaves.map((bytes, i) => {
    if (i !== leaf) return bytes
    const copy = bytes.slice()
    copy[byte] = (copy[byte] as number) ^ (1 << bit)
    return copy
  })
  return new MemoryBundle(leaves)
}
