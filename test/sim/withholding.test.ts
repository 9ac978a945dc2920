import type { DisputeMessage } from '@apus/shared/dispute'
import { bundleLayout, decodeManifest } from '@apus/shared/machine'
import { convicts, type Liar } from '../support/dispute/docket.ts'
import { flipBit } from '../support/dispute/flip.ts'
import { firstThatMatters, withWrongPiece, withWrongRow } from '../support/dispute/lies.ts'
import { resultOf } from '../support/dispute/play.ts'
import { TRIAL_SHAPE, type Trial } from '../support/dispute/trial.ts'

type Answer = 'Answer-Level' | 'Answer-Pages' | 'Answer-Stages' | 'Answer-Operations' | 'Answer-Chunks'
type Data = Readonly<Record<string, unknown>>

/** A lie in a K/V page. */
const wrongRow = ({ honest }: Trial) => withWrongRow(honest, 0, 0)

/** A lie in a checkpoint. */
const wrongWeight = (trial: Trial) => {
  const layout = bundleLayout(decodeManifest(trial.bundle.leaf(0)))
  return trial.run(flipBit(trial.bundle, layout.layers[1]!.gateUp.first, 3, 6))
}

const at =
  (
    kind: Answer,
    instead: (owed: DisputeMessage) => DisputeMessage | undefined,
  ): NonNullable<Liar['answers']> =>
  (_, owed) =>
    owed.action === kind ? instead(owed) : owed

const saying = (kind: Answer, change: (data: Data) => unknown) =>
  at(kind, owed => ({ ...owed, data: change(owed.data as Data) }))

/** Hashes or bytes with the last bit turned: of the right form, and nothing that was committed to. */
function turned(text: unknown): string {
  const bytes = Buffer.from(text as string, 'base64')
  bytes[bytes.length - 1]! ^= 1
  return bytes.toString('base64')
}

/** One hash or byte less. */
const cut = (text: unknown, by = 32): string =>
  Buffer.from(text as string, 'base64')
    .subarray(by)
    .toString('base64')

/** What of an answer is spoilt, and the check that it then fails: with other bits, and with too few. */
const ANSWERS = [
  ['Answer-Level', 'nodes', wrongRow, 'wrong-nodes', 'wrong-nodes'],
  ['Answer-Pages', 'k', wrongRow, 'wrong-pages', 'wrong-pages'],
  ['Answer-Stages', 'digests', wrongRow, 'wrong-operations', 'wrong-stages'],
  ['Answer-Stages', 'operations', wrongRow, 'wrong-operations', 'wrong-operations'],
  ['Answer-Chunks', 'values', wrongWeight, 'wrong-chunks', 'wrong-chunks'],
] as const

convicts(
  'refuses',
  ANSWERS.filter(([, field]) => field !== 'operations').map(
    ([kind, , lies]): Liar => ({
      name: `${kind}, and sends it too late`,
      lies,
      answers: at(kind, () => undefined),
      verdict: 'silent',
      refused: ['silent'],
    }),
  ),
)

const silent = (refusal: string) => ({ verdict: 'silent' as const, refused: [refusal] })

const GARBAGE: readonly Liar[] = ANSWERS.flatMap(([kind, field, lies, turnedCode, cutCode]) => [
  {
    name: `garbage in the ${field} of ${kind}`,
    lies,
    answers: saying(kind, data => ({ ...data, [field]: turned(data[field]) })),
    ...silent(turnedCode),
  },
  {
    name: `${kind} with some of its ${field} missing`,
    lies,
    answers: saying(kind, data => ({ ...data, [field]: cut(data[field]) })),
    ...silent(cutCode),
  },
])

convicts('answers', GARBAGE)

convicts('answers, when a checkpoint is disputed,', [
  {
    name: 'a digest list that does not match its checkpoint',
    lies: wrongWeight,
    answers: saying('Answer-Stages', data => ({ ...data, digests: turned(data.digests) })),
    ...silent('wrong-stages'),
  },
  {
    name: 'the checkpoint of an honest run',
    lies: wrongWeight,
    answers: (_, owed, { honest }) =>
      owed.action === 'Answer-Stages'
        ? {
            ...owed,
            data: {
              ...(owed.data as Data),
              checkpoint: {
                ...((owed.data as Data).checkpoint as Data),
                leaf: Buffer.from(honest.checkpoints[0]!).toString('base64'),
              },
            },
          }
        : owed,
    ...silent('wrong-checkpoint'),
  },
  {
    name: 'operations that do not give their stage',
    lies: wrongWeight,
    answers: saying('Answer-Stages', data => ({ ...data, operations: turned(data.operations) })),
    ...silent('wrong-operations'),
  },
  {
    name: 'no list at all',
    lies: wrongWeight,
    answers: saying('Answer-Level', () => []),
    ...silent('bad-data'),
  },
  {
    name: 'more than a message holds',
    lies: wrongWeight,
    answers: saying('Answer-Level', data => ({ ...data, nodes: 'A'.repeat(70_000) })),
    ...silent('too-large'),
  },
  {
    name: 'in the name of another dispute',
    lies: wrongWeight,
    answers: at('Answer-Stages', owed => ({ ...owed, tags: { Dispute: 'x'.repeat(43) } })),
    ...silent('unknown-dispute'),
  },
])

convicts('withholds', [
  {
    name: 'the checkpoint list',
    lies: wrongWeight,
    answers: at('Answer-Level', () => undefined),
    ...silent('silent'),
  },
  {
    name: 'one node of it',
    lies: wrongWeight,
    answers: saying('Answer-Level', data => ({ nodes: cut(data.nodes) })),
    ...silent('wrong-nodes'),
  },
  {
    name: 'the answer, which is not what its root says',
    lies: ({ honest }) => ({
      run: honest,
      result: {
        ...resultOf(honest),
        answerRoot: resultOf(withWrongPiece(honest, 0, Buffer.from('x'))).answerRoot,
      },
    }),
    ...silent('wrong-nodes'),
  },
])

// 2,048 K/V pages: their tree is shown in two answers.
const WIDE = { ...TRIAL_SHAPE, layers: 8, width: 32, heads: 64, kvHeads: 64, hidden: 33, context: 128 }
const LAST_PAGE = 2047

const wrongLastRow = ({ honest }: Trial) => withWrongRow(honest, LAST_PAGE, 0)

const belowTheTop =
  (change: (data: Data) => unknown): NonNullable<Liar['answers']> =>
  (view, owed) =>
    owed.action === 'Answer-Level' && view.level === 0 ? { ...owed, data: change(owed.data as Data) } : owed

convicts(
  'withholds of a tree in two levels',
  [
    { name: 'nothing', lies: wrongLastRow, verdict: 'proven' },
    {
      name: 'one level node',
      lies: wrongLastRow,
      answers: belowTheTop(data => ({ nodes: cut(data.nodes) })),
      ...silent('wrong-nodes'),
    },
    {
      name: 'what is under one level node, and shows other leaves',
      lies: wrongLastRow,
      answers: belowTheTop(data => ({ nodes: turned(data.nodes) })),
      ...silent('wrong-nodes'),
    },
  ],
  { shape: WIDE, promptLength: 63, maxTokens: 3 },
)

// More operations a position than one answer shows: they are asked for by stage.
const DEEP = { name: 'deep', layers: 60, width: 8, heads: 1, kvHeads: 1, hidden: 9, vocab: 66, context: 64 }

const wrongInTheMiddle = (trial: Trial) => {
  const { layers } = bundleLayout(decodeManifest(trial.bundle.leaf(0)))
  return firstThatMatters(trial.honest, [0, 1, 2, 3, 4, 5, 6, 7], byte =>
    trial.run(flipBit(trial.bundle, layers[30]!.qkv.first, byte, 5)),
  )
}

convicts(
  'of a deep model',
  [
    { name: 'withholds its leaves', lies: wrongInTheMiddle, verdict: 'proven' },
    {
      name: 'refuses Answer-Operations, and sends it too late',
      lies: wrongInTheMiddle,
      answers: at('Answer-Operations', () => undefined),
      ...silent('silent'),
    },
    {
      name: 'answers garbage in Answer-Operations',
      lies: wrongInTheMiddle,
      answers: saying('Answer-Operations', data => ({ ...data, digests: turned(data.digests) })),
      ...silent('wrong-operations'),
    },
    {
      name: 'answers Answer-Operations with something missing',
      lies: wrongInTheMiddle,
      answers: saying('Answer-Operations', data => ({ ...data, digests: cut(data.digests) })),
      ...silent('wrong-operations'),
    },
  ],
  { shape: DEEP, promptLength: 2, maxTokens: 2 },
)
