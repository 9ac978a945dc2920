import { runRoots } from '@apus/shared/machine'
import type { Replay } from '@apus/shared/replay'
import { encodeCheckpoint, pageLeaf } from '../../../shared/src/machine/digests.ts'
import { planStage } from '../../../shared/src/machine/plan.ts'
import { Page } from '../../../shared/src/machine/rows.ts'
import type { StopFlag } from '../../../shared/src/machine/stop.ts'
import { valueDigest } from '../../../shared/src/machine/value-tree.ts'

const PAGE_ROWS = 64

/** A run that says the same as another one but for what is replaced. */
export function pretending(run: Replay, changes: Partial<Replay>): Replay {
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
export function withWrongRow(run: Replay, index: number, row: number): Replay {
  const page = run.page(index).slice()
  const at = PAGE_ROWS + row * 2 * run.terms.manifest.headSize
  page[at] = (page[at] as number) ^ 1
  return pretending(run, {
    page: i => (i === index ? page : run.page(i)),
    pageLeaves: run.pageLeaves.map((leaf, i) => (i === index ? pageLeaf(page) : leaf)),
  })
}

/** Everything right, but the bytes of one piece of the answer. */
export const withWrongPiece = (run: Replay, n: number, piece: Uint8Array): Replay =>
  pretending(run, { pieces: run.pieces.map((own, i) => (i === n ? piece : own)) })

/** A page of a run as it is when only these rows of it are written. */
function firstRows(run: Replay, index: number, rows: number): Uint8Array {
  if (rows >= PAGE_ROWS) return run.page(index)
  const { headSize } = run.terms.manifest
  const own = Page.decode(run.page(index), headSize)
  const page = new Page(headSize)
  for (let row = 0; row < rows; row++) page.set(row, own.row(row))
  return page.encode()
}

/** The run cut after `count` tokens, its last checkpoint with `flag`. */
export function stoppedAt(run: Replay, count: number, flag: StopFlag): Replay {
  const { promptLength, manifest } = run.terms
  const checkpoints = run.checkpoints.slice(0, count)
  const last = Buffer.from(checkpoints[count - 1] as Uint8Array)
  checkpoints[count - 1] = encodeCheckpoint(
    last.readUInt32LE(0),
    last.readUInt32LE(4),
    flag,
    new Uint8Array(last.subarray(9)),
  )
  const fed = promptLength + count - 1
  const perBlock = manifest.layers * manifest.kvHeads * 2
  const page = (index: number) => firstRows(run, index, fed - Math.floor(index / perBlock) * PAGE_ROWS)
  return pretending(run, {
    page,
    checkpoints,
    tokens: run.tokens.slice(0, count),
    pieces: run.pieces.slice(0, count),
    pageLeaves: Array.from({ length: Math.ceil(fed / PAGE_ROWS) * perBlock }, (_, i) => pageLeaf(page(i))),
    operations: (position, stage) => {
      const own = run.operations(position, stage)
      if (position !== promptLength + count - 2 || stage !== manifest.layers + 1) return own
      return [...own.slice(0, -1), [Uint8Array.of(...last.subarray(4, 8), flag)]]
    },
  })
}

/** The run with the values of one operation of a stage changed, and nothing that follows from them. */
export function withOperation(
  run: Replay,
  at: { readonly position: number; readonly stage: number; readonly name: string },
  change: (leaves: readonly Uint8Array[]) => readonly Uint8Array[],
): Replay {
  return pretending(run, {
    operations: (position, stage) => {
      const own = run.operations(position, stage)
      if (position !== at.position || stage !== at.stage) return own
      const k = planStage(run.terms, position, stage).findIndex(operation => operation.name === at.name)
      return own.map((leaves, i) => (i === k ? change(leaves) : leaves))
    },
  })
}

/** Right tokens and pieces, and under every checkpoint a residual that nobody computed. */
export function withFakeResiduals(run: Replay, residual: Uint8Array): Replay {
  const { promptLength, manifest } = run.terms
  const digest = valueDigest([residual])
  return pretending(run, {
    checkpoints: run.checkpoints.map(leaf => new Uint8Array(Buffer.concat([leaf.subarray(0, 9), digest]))),
    operations: (position, stage) => {
      const own = run.operations(position, stage)
      if (position < promptLength - 1 || stage !== manifest.layers) return own
      return [...own.slice(0, -1), [residual]]
    },
  })
}

/** Right tokens, and pages on which nothing is written. */
export function withEmptyPages(run: Replay): Replay {
  const empty = new Page(run.terms.manifest.headSize).encode()
  return pretending(run, { page: () => empty, pageLeaves: run.pageLeaves.map(() => pageLeaf(empty)) })
}

/** The first of some runs whose result is not the honest one: many a wrong bit is rounded away. */
export async function firstThatMatters<T>(
  honest: Replay,
  choices: Iterable<T>,
  make: (choice: T) => Replay | Promise<Replay>,
): Promise<Replay> {
  const right = JSON.stringify(runRoots(honest))
  for (const choice of choices) {
    const run = await make(choice)
    if (JSON.stringify(runRoots(run)) !== right) return run
  }
  throw new Error('nothing of this matters')
}

/** The run of a miner in whose copy of one of the machine's tables one bit is turned, at the first entry that matters. */
export function withFlippedTable(
  table: Uint32Array,
  bit: number,
  honest: Replay,
  make: () => Promise<Replay>,
): Promise<Replay> {
  const flip = (entry: number) => {
    table[entry] = (table[entry] as number) ^ (1 << bit)
  }
  return firstThatMatters(honest, table.keys(), async entry => {
    flip(entry)
    const run = await make()
    flip(entry)
    const wrongly = <T>(compute: () => T): T => {
      flip(entry)
      try {
        return compute()
      } finally {
        flip(entry)
      }
    }
    return pretending(run, {
      page: index => wrongly(() => run.page(index)),
      operations: (position, stage) => wrongly(() => run.operations(position, stage)),
    })
  })
}

/** The run with the checkpoints of two tokens in each other's place. */
export function withSwapped(run: Replay, a: number, b: number): Replay {
  const checkpoints = run.checkpoints.slice()
  checkpoints[a] = run.checkpoints[b] as Uint8Array
  checkpoints[b] = run.checkpoints[a] as Uint8Array
  return pretending(run, { checkpoints })
}

/** Everything right, but the number in one checkpoint. */
export function withWrongNumber(run: Replay, index: number, number: number): Replay {
  const leaf = Buffer.from(run.checkpoints[index] as Uint8Array)
  leaf.writeUInt32LE(number)
  return pretending(run, {
    checkpoints: run.checkpoints.map((own, i) => (i === index ? new Uint8Array(leaf) : own)),
  })
}
