import type { DisputeMessage } from '@apus/shared'
import { bundleLayout, decodeManifest } from '../../shared/src/machine/index.ts'
import { convicts, type Liar } from '../support/dispute/docket.ts'
import { flipBit } from '../support/dispute/flip.ts'
import { withWrongPiece, withWrongRow } from '../support/dispute/lies.ts'
import { statementOf } from '../support/dispute/play.ts'
import { TRIAL_SHAPE, type Trial } from '../support/dispute/trial.ts'

type Answer = 'Answer-Level' | 'Answer-Pages' | 'Answer-Stages' | 'Answer-Operations' | 'Answer-Chunks'
type Data = Readonly<Record<string, unknown>>

/** A lie for which every kind of answer is owed once its leaves are withheld. */
const wrongRow = ({ honest }: Trial) => withWrongRow(honest, 0, 0)

/** A lie in a checkpoint. */
const wrongWeight = (trial: Trial) => {
  const layout = bundleLayout(decodeManifest(trial.bundle.leaf(0)))
  return trial.run(flipBit(trial.bundle, layout.layers[1]!.gateUp.first, 3, 6))
}

/** Shows the operations of no stage before they are asked for. */
function stepwise(owed: DisputeMessage): DisputeMessage {
  if (owed.action !== 'Answer-Stages') return owed
  const { digests, checkpoint, piece } = owed.data as Data
  return { ...owed, data: { digests, ...(checkpoint ? { checkpoint, piece } : {}) } }
}

const at =
  (
    kind: Answer,
    instead: (owed: DisputeMessage) => DisputeMessage | undefined,
  ): NonNullable<Liar['answers']> =>
  (_, owed) =>
    owed.action === kind ? instead(stepwise(owed)) : stepwise(owed)

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

const ANSWERS = [
  ['Answer-Level', 'nodes', 'wrong-nodes'],
  ['Answer-Pages', 'k', 'wrong-pages'],
  ['Answer-Stages', 'digests', 'wrong-stages'],
  ['Answer-Operations', 'digests', 'wrong-operations'],
  ['Answer-Chunks', 'leaves', 'wrong-chunks'],
] as const

convicts(
  'refuses',
  ANSWERS.map(
    ([kind]): Liar => ({
      name: `${kind}, and sends it too late`,
      lies: wrongRow,
      answers: at(kind, () => undefined),
      verdict: 'silent',
      refused: ['silent'],
    }),
  ),
)

const silent = (refusal: string) => ({ verdict: 'silent' as const, refused: [refusal] })

const GARBAGE: readonly Liar[] = [
  ...ANSWERS.map(([kind, field, code]) => ({
    name: `garbage in ${kind}`,
    lies: wrongRow,
    answers: saying(kind, data => ({ ...data, [field]: turned(data[field]) })),
    // At a prompt token nothing binds the digests of stages but the rows, and these are wrong.
    ...(kind === 'Answer-Stages' ? { verdict: 'proven' as const } : silent(code)),
  })),
  ...ANSWERS.map(([kind, field, code]) => ({
    name: `${kind} with something missing`,
    lies: wrongRow,
    answers: saying(kind, data => ({ ...data, [field]: cut(data[field]) })),
    ...silent(code),
  })),
]

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
    answers: saying('Answer-Operations', data => ({ ...data, digests: turned(data.digests) })),
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
      statement: {
        ...statementOf(honest),
        answerRoot: statementOf(withWrongPiece(honest, 0, Buffer.from('x'))).answerRoot,
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
    { name: 'nothing', lies: wrongLastRow, verdict: 'proven', messages: 13 },
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
