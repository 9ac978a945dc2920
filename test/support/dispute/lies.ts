import type { Retrace } from '@apus/shared'
import { encodeCheckpoint, pageLeaf, type StopFlag } from '../../../shared/src/machine/index.ts'

const PAGE_ROWS = 64

/** A run that says the same as another one but for what is replaced. */
export function pretending(run: Retrace, changes: Partial<Retrace>): Retrace {
  return {
    terms: run.terms,
    promptTokens: run.promptTokens,
    tokens: run.tokens,
    pieces: run.pieces,
    checkpoints: run.checkpoints,
    pageLeaves: run.pageLeaves,
    page: index => run.page(index),
    operations: (position, stage) => run.operations(position, stage),
    bundleLeaf: index => run.bundleLeaf(index),
    bundlePath: index => run.bundlePath(index),
    ...changes,
  }
}

/** Everything right, but one bit of one row of one K/V page. */
export function withWrongRow(run: Retrace, index: number, row: number): Retrace {
  const page = run.page(index).slice()
  const at = PAGE_ROWS + row * 2 * run.terms.manifest.headSize
  page[at] = (page[at] as number) ^ 1
  return pretending(run, {
    page: i => (i === index ? page : run.page(i)),
    pageLeaves: run.pageLeaves.map((leaf, i) => (i === index ? pageLeaf(page) : leaf)),
  })
}

/** Everything right, but the bytes of one piece of the answer. */
export const withWrongPiece = (run: Retrace, n: number, piece: Uint8Array): Retrace =>
  pretending(run, { pieces: run.pieces.map((own, i) => (i === n ? piece : own)) })

/** The run cut after `count` tokens, its last checkpoint with `flag`. */
export function stoppedAt(run: Retrace, count: number, flag: StopFlag): Retrace {
  const { promptLength, manifest } = run.terms
  const checkpoints = run.checkpoints.slice(0, count)
  const last = Buffer.from(checkpoints[count - 1] as Uint8Array)
  checkpoints[count - 1] = encodeCheckpoint(
    last.readUInt32LE(0),
    last.readUInt32LE(4),
    flag,
    new Uint8Array(last.subarray(9)),
  )
  const pages = Math.ceil((promptLength + count - 1) / PAGE_ROWS) * manifest.layers * manifest.kvHeads * 2
  return pretending(run, {
    checkpoints,
    tokens: run.tokens.slice(0, count),
    pieces: run.pieces.slice(0, count),
    pageLeaves: run.pageLeaves.slice(0, pages),
    operations: (position, stage) => {
      const own = run.operations(position, stage)
      if (position !== promptLength + count - 2 || stage !== manifest.layers + 1) return own
      return [...own.slice(0, -1), [Uint8Array.of(...last.subarray(4, 8), flag)]]
    },
  })
}
