import type { RunLeaves } from '@apus/shared/machine'
import fc from 'fast-check'
import { expect, it } from 'vitest'
import { firstDifference } from '../../../../shared/src/dispute/compare.ts'
import { encodeCheckpoint } from '../../../../shared/src/machine/digests.ts'

const residual = (seed: number) => new Uint8Array(32).fill(seed)
const COUNT = 10
const TOKENS = Array.from({ length: COUNT }, (_, n) => n + 5)
const run = (): RunLeaves => ({
  checkpoints: TOKENS.map((token, n) => encodeCheckpoint(n, token, n === COUNT - 1 ? 3 : 0, residual(n))),
  pageLeaves: Array.from({ length: 8 }, (_, i) => residual(100 + i)),
})
const mine = run()
const differenceTo = (theirs: RunLeaves, count = COUNT, tokens: readonly number[] = TOKENS) =>
  firstDifference(mine, theirs, { count, finish: 'length' }, tokens)

it('finds nothing in equal runs', () => {
  expect(differenceTo(run())).toBeUndefined()
})

it('names the first page that differs before any checkpoint, and without one the first checkpoint', () => {
  fc.assert(
    fc.property(fc.nat(8), fc.option(fc.nat(7), { nil: undefined }), (n, page) => {
      const leaf = encodeCheckpoint(n, n + 5, 0, residual(n + 1))
      const { pageLeaves } = mine
      const difference = differenceTo({
        checkpoints: mine.checkpoints.with(n, leaf),
        pageLeaves: page === undefined ? pageLeaves : pageLeaves.with(page, residual(1)),
      })
      expect(difference).toEqual(
        page === undefined ? { kind: 'checkpoint', checkpoint: n } : { kind: 'page', page },
      )
    }),
    { seed: 1 },
  )
})

it('needs no comparison for leaves that break a rule by themselves', () => {
  const [first, second] = mine.checkpoints as [Uint8Array, Uint8Array]
  const cases: [number, readonly Uint8Array[]][] = [
    [4, mine.checkpoints.slice(0, 5)],
    [1, mine.checkpoints.with(1, encodeCheckpoint(1, 6, 1, residual(1)))],
    [2, mine.checkpoints.with(2, encodeCheckpoint(2, 8, 0, residual(2)))],
    [9, mine.checkpoints.with(9, encodeCheckpoint(9, 14, 0, residual(9)))],
    [9, mine.checkpoints.with(9, encodeCheckpoint(9, 14, 1, residual(9)))],
    [0, [second, first, ...mine.checkpoints.slice(2)]],
  ]
  for (const [checkpoint, checkpoints] of cases)
    expect(differenceTo({ ...mine, checkpoints }, checkpoints.length)).toEqual({
      kind: 'structure',
      checkpoint,
    })
  const longer = [...mine.checkpoints, encodeCheckpoint(10, 1, 3, residual(0))]
  expect(differenceTo({ ...mine, checkpoints: longer }, 11, [...TOKENS, 1])).toEqual({
    kind: 'structure',
    checkpoint: 9,
  })
})
