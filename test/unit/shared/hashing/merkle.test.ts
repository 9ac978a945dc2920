import { merkleLeaf, merkleRoot } from '@apus/shared/hashing'
import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { merklePath, verifyMerklePath } from '../../../../shared/src/hashing/merkle.ts'

const leavesOf = (n: number) =>
  Array.from({ length: n }, (_, i) => merkleLeaf('test', Buffer.from(`leaf ${i}`)))

describe('merkle tree', () => {
  it('proves every leaf of every size and refuses every other index, count and leaf', () => {
    for (let n = 1; n <= 17; n++) {
      const leaves = leavesOf(n)
      const root = merkleRoot(leaves)
      for (let i = 0; i < n; i++) {
        const path = merklePath(leaves, i)
        expect(verifyMerklePath(root, n, i, leaves[i]!, path), `${i} of ${n}`).toBe(true)
        for (const [count, index] of [
          [n + 1, i],
          [n - 1, i],
          [n, i + 1],
          [n, -1],
          [n, i ^ 1],
        ] as const) {
          const other = count !== n || index !== i
          if (other)
            expect(verifyMerklePath(root, count, index, leaves[i]!, path), `${index}/${count}`).toBe(false)
        }
        expect(verifyMerklePath(root, n, i, leaves[i]!, [...path, leaves[0]!])).toBe(false)
      }
    }
  })

  it('never takes an inner node for a leaf', () => {
    fc.assert(
      fc.property(fc.integer({ min: 2, max: 40 }), n => {
        const leaves = leavesOf(n)
        const half = merkleRoot(leaves.slice(0, Math.ceil(n / 2)))
        return !leaves.some(leaf => Buffer.compare(leaf, half) === 0) && merkleRoot(leaves) !== half
      }),
    )
  })
})
