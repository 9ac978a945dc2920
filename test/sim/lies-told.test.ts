import { merkleLevels, toBase64Url } from '@apus/shared/hashing'
import { checkpointLeaf } from '@apus/shared/machine'
import type { RevealedResult } from '@apus/shared/protocol'
import type { Replay } from '@apus/shared/replay'
import { sha256 } from '../../shared/src/hashing/digest.ts'
import { sealRoot } from '../../shared/src/hashing/merkle.ts'
import { pageLeaf } from '../../shared/src/machine/digests.ts'
import type { StopFlag } from '../../shared/src/machine/stop.ts'
import { convicts, type Liar } from '../support/dispute/docket.ts'
import { pretending, stoppedAt, withSwapped, withWrongNumber, withWrongRow } from '../support/dispute/lies.ts'
import { resultOf } from '../support/dispute/play.ts'
import type { Claim, Trial } from '../support/dispute/trial.ts'

const MOST = 4

const stopped = (count: number, flag: StopFlag) => (trial: Trial) => stoppedAt(trial.honest, count, flag)

/** The honest run with another reason for its end than its last checkpoint gives. */
const otherFinish = ({ honest }: Trial): Claim => ({
  run: honest,
  result: { ...resultOf(honest), finish: 'stop' },
})

const ENDS: readonly Liar[] = [
  { name: 'early, saying that it stopped', lies: stopped(2, 1), verdict: 'proven' },
  { name: 'early, saying that it was long enough', lies: stopped(3, 3), shows: true, verdict: 'proven' },
  { name: 'early, without a stop flag', lies: stopped(2, 0), verdict: 'at once' },
  { name: 'one token early', lies: stopped(MOST - 1, 2), verdict: 'proven' },
  { name: 'at the maximum, with the flag of a stop token', lies: stopped(MOST, 1), verdict: 'proven' },
  {
    name: 'at the maximum, with the flag of the context',
    lies: stopped(MOST, 4),
    shows: true,
    verdict: 'proven',
  },
  {
    name: 'at the maximum, without a flag, its leaves shown',
    lies: stopped(MOST, 0),
    shows: true,
    verdict: 'at once',
  },
  { name: 'at the maximum, without a flag', lies: stopped(MOST, 0), verdict: 'moot' },
  { name: 'as it must, and names another reason', lies: otherFinish, verdict: 'at once' },
]

convicts('stops', ENDS, { maxTokens: MOST })

// The honest answer of this prompt stops at its fifth token: a tree with an odd leaf at the end.
const STOP = 'acc'
const COUNT = 5
const ROOM = 8

const claiming = (run: Replay, changes: Partial<RevealedResult>): Claim => ({
  run,
  result: { ...resultOf(run), ...changes },
})

const rootText = (count: number, top: Uint8Array) =>
  toBase64Url(sealRoot(count, top)) as RevealedResult['checkpointRoot']
const topOf = (leaves: readonly Uint8Array[]) => merkleLevels(leaves).at(-1)![0]!
const leavesOf = (run: Replay) => run.checkpoints.map(checkpointLeaf)
const node = (a: Uint8Array, b: Uint8Array) => sha256(Uint8Array.of(1), a, b)

/** As many tokens and pieces as it says that it chose. */
const withTokens = (run: Replay, count: number) =>
  pretending(run, {
    tokens: Array.from({ length: count }, (_, i) => run.tokens[i] ?? run.tokens[0]!),
    pieces: Array.from({ length: count }, (_, i) => run.pieces[i] ?? run.pieces[0]!),
  })

/** Says that there are `count` tokens under the root of the honest five. */
const countOf = (count: number) => (trial: Trial) => {
  const run = withTokens(trial.honest, count)
  return claiming(run, { count })
}

/** A tree with empty leaves up to a power of two. */
function padded({ honest }: Trial): Claim {
  const leaves = [...leavesOf(honest), ...Array.from({ length: 8 - COUNT }, () => new Uint8Array(32))]
  return claiming(honest, { checkpointRoot: rootText(8, topOf(leaves)) })
}

/** A tree in which the odd node of a level is hashed with itself, as some chains do. */
function doubled({ honest }: Trial): Claim {
  let level: readonly Uint8Array[] = leavesOf(honest)
  while (level.length > 1) {
    const { length } = level
    const own = level
    level = Array.from({ length: Math.ceil(length / 2) }, (_, i) =>
      node(own[2 * i]!, own[2 * i + 1] ?? own[2 * i]!),
    )
  }
  return claiming(honest, { checkpointRoot: rootText(COUNT, level[0]!) })
}

const nodesOf = (run: Replay) => merkleLevels(leavesOf(run))[1]!

/** The nodes above the leaves pass for leaves of a shorter answer. */
function shortened({ honest }: Trial): Claim {
  const nodes = nodesOf(honest)
  const run = stoppedAt(honest, nodes.length, 2)
  return claiming(run, { checkpointRoot: rootText(nodes.length, topOf(nodes)) })
}

/** All that is honest and, behind the token with which it stops, one more. */
async function goesOn(trial: Trial): Promise<Replay> {
  const longer = await trial.run(trial.bundle, { stop: [], maxTokens: COUNT + 1 })
  return pretending(longer, {
    checkpoints: [...trial.honest.checkpoints, longer.checkpoints[COUNT]!],
  })
}

/** Two leaves of the K/V tree in each other's place. */
function withSwappedPages({ honest }: Trial, a: number, b: number): Replay {
  const of = (index: number) => (index === a ? b : index === b ? a : index)
  return pretending(honest, {
    page: index => honest.page(of(index)),
    pageLeaves: honest.pageLeaves.map((_, index) => honest.pageLeaves[of(index)]!),
  })
}

/** One more block of pages than the run has positions for. */
function withMorePages(run: Replay): Replay {
  const more = run.pageLeaves.map((_, i) => pageLeaf(run.page(i)))
  return pretending(run, { pageLeaves: [...run.pageLeaves, ...more] })
}

const TREES: readonly Liar[] = [
  {
    name: 'one token more than its tree has',
    lies: countOf(COUNT + 1),
    verdict: 'silent',
    refused: ['silent'],
  },
  {
    name: 'one token less than its tree has',
    lies: countOf(COUNT - 1),
    verdict: 'silent',
    refused: ['wrong-pages'],
  },
  { name: 'a padded tree', lies: padded, verdict: 'silent', refused: ['wrong-nodes'] },
  { name: 'a tree that doubles its odd leaf', lies: doubled, verdict: 'silent', refused: ['wrong-nodes'] },
  {
    name: 'a shortened tree with nodes for leaves',
    lies: shortened,
    answers: (_, owed, { honest }) =>
      owed.action === 'Answer-Level'
        ? { ...owed, data: { nodes: Buffer.concat(nodesOf(honest)).toString('base64') } }
        : owed,
    verdict: 'silent',
    refused: ['wrong-checkpoint'],
  },
  {
    name: 'two leaves swapped, shown',
    lies: t => withSwapped(t.honest, 1, 2),
    shows: true,
    verdict: 'at once',
  },
  {
    name: 'two leaves swapped, withheld',
    lies: t => withSwapped(t.honest, 1, 2),
    verdict: 'silent',
    refused: ['wrong-stages'],
  },
  { name: 'a leaf with another number', lies: t => withWrongNumber(t.honest, 2, 3), verdict: 'moot' },
  { name: 'a token after the last one, shown', lies: goesOn, shows: true, verdict: 'at once' },
  { name: 'a token after the last one, withheld', lies: goesOn, verdict: 'moot' },
  {
    name: 'every token that there is room for, over the stop',
    lies: trial => trial.run(trial.bundle, { stop: [] }),
    verdict: 'proven',
  },
  {
    name: 'one token less than its tree has, shown',
    lies: countOf(COUNT - 1),
    shows: true,
    verdict: 'silent',
    refused: ['wrong-pages'],
  },
]

const PAGES: readonly Liar[] = [
  { name: 'a K page for a V page', lies: t => withSwappedPages(t, 2, 3), verdict: 'proven' },
  { name: 'the pages of another head', lies: t => withSwappedPages(t, 0, 2), verdict: 'proven' },
  {
    name: 'more pages than positions',
    lies: t => withMorePages(t.honest),
    verdict: 'silent',
    refused: ['wrong-nodes'],
  },
  {
    name: 'more pages than positions, one of them wrong and all of them shown',
    lies: t => withMorePages(withWrongRow(t.honest, 0, 0)),
    shows: true,
    verdict: 'silent',
    refused: ['wrong-nodes'],
  },
  {
    name: 'a row of a position that was never fed',
    lies: t => withWrongRow(t.honest, 3, 40),
    verdict: 'silent',
    refused: ['wrong-pages'],
  },
]

convicts('commits to a tree:', TREES, { maxTokens: ROOM, stop: [STOP] })

convicts('commits to pages:', PAGES, { maxTokens: ROOM, stop: [STOP] })
