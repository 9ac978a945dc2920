import fc from 'fast-check'
import { expect, it } from 'vitest'
import { firstDifference } from '../../../shared/src/dispute/compare.ts'
import type { Evidence } from '../../../shared/src/dispute/evidence.ts'
import { encodeCheckpoint } from '../../../shared/src/machine/index.ts'

const residual = (seed: number) => new Uint8Array(32).fill(seed)
const run = (count: number, pages: number): Evidence => ({
  checkpoints: Array.from({ length: count }, (_, n) =>
    encodeCheckpoint(n, n + 5, n === count - 1 ? 3 : 0, residual(n)),
  ),
  pageLeaves: Array.from({ length: pages }, (_, i) => residual(100 + i)),
})
const replaced = (leaves: readonly Uint8Array[], at: number, leaf: Uint8Array) => leaves.with(at, leaf)

const shape = { promptLength: 60, pagesPerBlock: 4 }
const mine = run(10, 8)

it('finds nothing in equal runs and says when the leaves are not known', () => {
  expect(firstDifference(mine, run(10, 8), shape)).toEqual({ kind: 'none' })
  expect(firstDifference(mine, undefined, shape)).toEqual({ kind: 'withheld' })
})

it('names the first checkpoint that differs, whatever its own block of pages shows', () => {
  fc.assert(
    fc.property(fc.nat(8), fc.nat(7), (n, page) => {
      const theirs = {
        checkpoints: replaced(mine.checkpoints, n, encodeCheckpoint(n, 1, 0, residual(n))),
        pageLeaves: replaced(mine.pageLeaves, page, residual(1)),
      }
      const before = page < 4 * Math.floor((shape.promptLength - 1 + n) / 64)
      expect(firstDifference(mine, theirs, shape)).toEqual(
        before ? { kind: 'page', page } : { kind: 'checkpoint', checkpoint: n },
      )
    }),
    { seed: 1 },
  )
})

it('names a page when only pages differ', () => {
  const theirs = { ...mine, pageLeaves: replaced(mine.pageLeaves, 6, residual(1)) }
  expect(firstDifference(mine, theirs, shape)).toEqual({ kind: 'page', page: 6 })
})

it('needs no comparison for leaves that break a rule by themselves', () => {
  const [first, second] = mine.checkpoints as [Uint8Array, Uint8Array]
  const cases: [number, readonly Uint8Array[]][] = [
    [4, mine.checkpoints.slice(0, 5)],
    [1, replaced(mine.checkpoints, 1, encodeCheckpoint(1, 6, 1, residual(1)))],
    [9, replaced(mine.checkpoints, 9, encodeCheckpoint(9, 14, 0, residual(9)))],
    [0, [second, first, ...mine.checkpoints.slice(2)]],
    [9, [...mine.checkpoints, encodeCheckpoint(10, 1, 3, residual(0))]],
  ]
  for (const [checkpoint, checkpoints] of cases) {
    expect(firstDifference(mine, { ...mine, checkpoints }, shape)).toEqual({ kind: 'structure', checkpoint })
  }
})
