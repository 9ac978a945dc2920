import { z } from 'zod'
import { address, amount, digestText, id32, jobId } from './identity.ts'

/** Largest Data of one message of a dispute, in bytes. */
export const MAX_DISPUTE_BYTES = 65_536
/** Nodes of a tree that one answer shows. */
export const MAX_LEVEL_NODES = 1024
/** Operations of a position that an answer shows with its stages; of a position with more they are asked for by stage. */
export const MAX_SHOWN_OPERATIONS = 1024
/** Levels between the nodes of one answer and those of the next: 2^10 nodes under the picked one. */
export const LEVEL_STEP = 10

/** Bytes as base64 with padding. */
const bytesText = z.base64()
const hashesText = z.base64().refine(text => Buffer.from(text, 'base64').length % 32 === 0, {
  message: 'must be hashes of 32 bytes',
})

/** A leaf's bytes and its siblings from the leaf upwards. */
export const provenLeaf = z.strictObject({ leaf: bytesText, path: hashesText })

export const DISPUTE_TREES = ['checkpoints', 'pages', 'answer'] as const

/** Data of each message that a party sends, as JSON; scalars are tags. contracts-lua/SPEC.md says what they mean. */
export const disputePayloads = {
  /** The last leaf of the job's prompt tree; needed while the job has no `promptLength`. */
  'Open-Dispute': z.strictObject({
    prompt: z.strictObject({ count: z.int().min(1), ...provenLeaf.shape }).optional(),
  }),
  'Answer-Level': z.strictObject({ nodes: hashesText }),
  /** K and V page of the pair; one path, from their parent upwards. */
  'Answer-Pages': z.strictObject({ k: bytesText, v: bytesText, path: hashesText }),
  /**
   * `checkpoint` and `piece` from the last prompt position on. `operations`: the digests of all stages' operations, with
   * the advice of the head, where they are few enough.
   */
  'Answer-Stages': z.strictObject({
    digests: hashesText,
    operations: hashesText.optional(),
    advice: bytesText.optional(),
    checkpoint: provenLeaf.optional(),
    piece: provenLeaf.optional(),
  }),
  /** `advice`: the 8-byte leaves of the stage's advice operations, where it has any. */
  'Answer-Operations': z.strictObject({ digests: hashesText, advice: bytesText.optional() }),
  'Answer-Chunks': z.union([z.strictObject({ values: bytesText }), z.strictObject({ leaves: hashesText })]),
  /** One for each input of the plan's chunk: the bytes of neighbouring leaves one after the other, and their path. */
  'Prove-Step': z.strictObject({ inputs: z.array(provenLeaf) }),
  'Prove-Structure': z.strictObject({
    ...provenLeaf.shape,
    tree: z.literal('prompt').optional(),
    count: z.int().min(1).optional(),
  }),
  'Prove-Answer': z.strictObject({ piece: provenLeaf, pieces: provenLeaf }),
  /** Two signed commitments of one seat with what they open to, or one that contradicts the reveal. */
  'Prove-Equivocation': z.strictObject({
    said: z
      .array(z.strictObject({ statement: bytesText, signature: bytesText, salt: id32, root: id32 }))
      .min(1)
      .max(2),
  }),
} as const

export type DisputePayload<A extends keyof typeof disputePayloads> = z.infer<(typeof disputePayloads)[A]>

/** Moves within a dispute; the proofs in one message need none. */
export const ACCUSED_MOVES = [
  'Answer-Level',
  'Answer-Pages',
  'Answer-Stages',
  'Answer-Operations',
  'Answer-Chunks',
] as const
export const CHALLENGER_MOVES = [
  'Pick-Node',
  'Pick-Row',
  'Pick-Stage',
  'Pick-Operation',
  'Prove-Step',
] as const

/**
 * `waiting` and `running` are open. `proven`: the step was recomputed and differs. `silent`: the accused ran out of time.
 * `refuted`: the accused was right. `abandoned`: the challenger ran out of time. `moot`: the accused was convicted otherwise.
 */
export const DISPUTE_STATES = [
  'waiting',
  'running',
  'proven',
  'silent',
  'refuted',
  'abandoned',
  'moot',
] as const

/** A dispute as published under `disputes/<id>`; what has been answered lies under `evidence`. Times in network ms. */
export const disputeView = z.object({
  id: id32,
  job: jobId,
  accused: address,
  challenger: address,
  state: z.enum(DISPUTE_STATES),
  /** The challenger's units at stake while the dispute is open, from account and seat together. */
  bond: amount,
  opened: z.int(),
  /** Who must move next, and by which of these actions. */
  turn: z.enum(['accused', 'challenger']).optional(),
  moves: z.array(z.enum([...ACCUSED_MOVES, ...CHALLENGER_MOVES])).optional(),
  /** When whoever must move is out of time. */
  deadline: z.int().optional(),
  /** Time left of each side at the beginning of this turn, ms. */
  clocks: z.object({ accused: z.int(), challenger: z.int() }),
  /** The tree whose nodes are shown, and the nodes that are due or were shown last: index of the first, and their level. */
  tree: z.enum(DISPUTE_TREES).optional(),
  level: z.int().optional(),
  node: z.int().optional(),
  /** The pair of pages that is due or was shown last. */
  pages: z.int().optional(),
  position: z.int().optional(),
  stage: z.int().optional(),
  operation: z.int().optional(),
  /** The chunk that was recomputed. */
  chunk: z.int().optional(),
})

export type DisputeView = z.infer<typeof disputeView>

/** What a revealed seat claims: its result without what the job fixes. */
export const revealedResult = z.object({
  count: z.int(),
  finish: z.enum(['stop', 'length']),
  tokenDigest: digestText,
  checkpointRoot: digestText,
  kvRoot: digestText,
  answerRoot: digestText,
})
export type RevealedResult = z.infer<typeof revealedResult>

/** The key under `tokens` of what a result of a job says it has read; its text is base64 (`encodeTokens`). */
export const tokensKey = (job: string, { tokenDigest }: Pick<RevealedResult, 'tokenDigest'>): string =>
  `${job}.${tokenDigest}`

/** The key under `evidence` of the id of the message that brought the answer with this key. */
export const answerMessageKey = (key: string): string => `${key}.message`

/** The key of an answer under `evidence`; its text is the Data of the answer as it came. */
export const seatAnswerKey = {
  level: (job: string, accused: string, tree: string, level: number, node: number): string =>
    `${job}.${accused}.level.${tree}.${level}.${node}`,
  pages: (job: string, accused: string, pair: number): string => `${job}.${accused}.pages.${pair}`,
  stages: (job: string, accused: string, position: number): string => `${job}.${accused}.stages.${position}`,
  operations: (job: string, accused: string, position: number, stage: number): string =>
    `${job}.${accused}.operations.${position}.${stage}`,
  chunks: (job: string, accused: string, position: number, stage: number, operation: number): string =>
    `${job}.${accused}.chunks.${position}.${stage}.${operation}`,
}
