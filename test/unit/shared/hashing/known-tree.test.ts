import { randomBytes } from 'node:crypto'
import { merkleLevels, merkleRoot } from '@apus/shared/hashing'
import fc from 'fast-check'
import { expect, it } from 'vitest'
import { KnownTree } from '../../../../shared/src/hashing/known-tree.ts'
import { merklePath, verifyMerklePath } from '../../../../shared/src/hashing/merkle.ts'
import { topOfRange } from '../../../../shared/src/hashing/merkle-proof.ts'

const leavesOf = (count: number) => Array.from({ length: count }, () => new Uint8Array(randomBytes(32)))

it('gives the path of every leaf of a tree it knows', () => {
  for (const count of [1, 2, 3, 5, 8, 13, 64, 100]) {
    const leaves = leavesOf(count)
    const tree = new KnownTree(count)
    tree.setAll(0, 0, leaves)
    for (let i = 0; i < count; i++) expect(tree.path(i)).toEqual(merklePath(leaves, i))
  }
})

it('knows the paths of all earlier leaves from one path and those leaves', () => {
  fc.assert(
    fc.property(fc.integer({ min: 1, max: 90 }), fc.nat(), (count, pick) => {
      const leaves = leavesOf(count)
      const at = pick % count
      const tree = new KnownTree(count)
      tree.setAll(0, 0, leaves.slice(0, at))
      tree.setPath(0, at, leaves[at]!, merklePath(leaves, at))
      for (let i = 0; i <= at; i++) {
        expect(verifyMerklePath(merkleRoot(leaves), count, i, leaves[i]!, tree.path(i)!)).toBe(true)
      }
    }),
    { seed: 2 },
  )
})

it('knows paths from the nodes of one level and the leaves under one of them, and no others', () => {
  const leaves = leavesOf(21)
  const levels = merkleLevels(leaves)
  const tree = new KnownTree(21)
  tree.setAll(2, 0, levels[2]!)
  tree.setAll(0, 8, leaves.slice(8, 12))
  for (let i = 8; i < 12; i++) expect(tree.path(i)).toEqual(merklePath(leaves, i))
  expect(tree.path(4)).toBeUndefined()
  expect(tree.node(tree.height, 0)).toEqual(levels.at(-1)![0])
})

it('proves neighbouring leaves together', () => {
  fc.assert(
    fc.property(fc.integer({ min: 1, max: 70 }), fc.nat(), fc.nat(), (count, a, b) => {
      const leaves = leavesOf(count)
      const first = a % count
      const some = leaves.slice(first, first + 1 + (b % (count - first)))
      const tree = new KnownTree(count)
      tree.setAll(0, 0, leaves)
      const path = tree.rangePath(first, some.length)!
      const top = merkleLevels(leaves).at(-1)![0]
      expect(topOfRange(count, first, some, path)).toEqual(top)
      if (some.length < count) expect(topOfRange(count, first, some.slice(1), path)).not.toEqual(top)
      expect(topOfRange(count, first, some, [...path, leaves[0]!])).toBeUndefined()
    }),
    { seed: 3 },
  )
})
