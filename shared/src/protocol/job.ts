import { z } from 'zod'
import { digest } from '../hashing/digest.ts'
import { revealedResult } from './dispute.ts'
import { address, amount, digestText, id32, jobId, modelId } from './identity.ts'
import { MAX_STOP_UNITS, MAX_STOPS } from './limits.ts'
import { samplerLine, samplerSettings } from './sampler.ts'

export const MAX_PROMPT_BYTES = 64 * 1024
export const MAX_INLINE_ANSWER_BYTES = 32 * 1024
export const MAX_REDUNDANCY = 16
export const MAX_NEW_TOKENS = 4096

export const JOB_STATES = [
  'submitted',
  'seated',
  'auditing',
  'revealing',
  'agreed',
  'held',
  'settled',
  'refunded',
  'expired',
  'cancelled',
  'void',
] as const
export const SEAT_STATES = ['drawn', 'committed', 'revealed', 'missed', 'late'] as const

export type JobState = (typeof JOB_STATES)[number]
/** States in which nothing more can happen to a job. */
export const ENDED: readonly JobState[] = ['settled', 'refunded', 'expired', 'cancelled', 'void']

/** `text`: a user's message, framed by the model's chat template; `raw`: tokenised as it is; `chat`: JSON messages. */
export const promptFormat = z.enum(['text', 'raw', 'chat'])

/** Zod counts characters, the contract UTF-16 units. */
const stopString = z.string().refine(text => text.length >= 1 && text.length <= MAX_STOP_UNITS, {
  message: `must have 1 to ${MAX_STOP_UNITS} UTF-16 units`,
})
export const stopStrings = z.array(stopString).max(MAX_STOPS)

export const seatView = z.object({
  miner: address,
  state: z.enum(SEAT_STATES),
  /** Which draw gave this seat: 0 is the first, 1 and 2 replace missing seats. */
  draw: z.int(),
  audit: z.boolean(),
  commitment: digestText.optional(),
  resultRoot: digestText.optional(),
  /** What the seat revealed; in verifiable classes only. */
  statement: revealedResult.optional(),
  /** What opened its commitment; as long as the statement. */
  salt: digestText.optional(),
  paid: amount.optional(),
  /** The bond that the seat lost. */
  slashed: amount.optional(),
  /** Ids of the seat's own messages, and of the one that proved its fault. */
  messages: z.object({ commit: id32, reveal: id32.optional(), proof: id32.optional() }).optional(),
})

/** A job as the network process publishes it under `jobs/<id>`. Times are network time in ms, amounts token units. */
export const jobView = z.object({
  id: jobId,
  requester: address,
  reference: z.string().optional(),
  model: modelId,
  class: z.string(),
  verifiable: z.boolean(),
  state: z.enum(JOB_STATES),
  redundancy: z.int(),
  maxTokens: z.int(),
  sampler: samplerSettings,
  stop: stopStrings,
  format: promptFormat,
  /** Where the prompt is when it is not published under `prompts/<id>`. */
  promptId: z.string().optional(),
  promptHash: digestText,
  promptTokens: digestText.optional(),
  /** Prompt tokens, once a dispute has shown them. */
  promptLength: z.int().optional(),
  submitted: z.int(),
  deadline: z.int(),
  escrow: amount,
  /** The most that one seat can earn. */
  seatPrice: amount,
  /** What a seat loses by a proven fault or by not revealing; 0 in classes that lock nothing. */
  bond: amount.optional(),
  seats: z.array(seatView),
  agreed: z
    .object({
      resultRoot: digestText,
      answerRoot: digestText,
      count: z.int(),
      finish: z.string(),
      seats: z.int(),
    })
    .optional(),
  finalAt: z.int().optional(),
  refunded: amount.optional(),
  code: z.string().optional(),
})

export type SeatView = z.infer<typeof seatView>
export type JobView = z.infer<typeof jobView>
export type PromptFormat = z.infer<typeof promptFormat>

/** What shapes the answer besides model and prompt: bound in the result root. */
export const settingsDigest = (job: Pick<JobView, 'sampler' | 'stop' | 'maxTokens'>): string =>
  digest('apus/settings', samplerLine(job.sampler), digest('apus/stop', ...job.stop), String(job.maxTokens))

/** Hash of a prompt's text: `promptHash` of a job. */
export const promptDigest = (prompt: string): string => digest('apus/prompt', prompt)
