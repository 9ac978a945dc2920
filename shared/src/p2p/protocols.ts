import { z } from 'zod'
import { digestText, jobId, processId } from '../protocol/identity.ts'
import { jobView, MAX_NEW_TOKENS, MAX_PROMPT_BYTES } from '../protocol/job.ts'
import { MAX_COMMITMENT_BYTES } from '../protocol/signed-commitment.ts'
import type { RequestProtocol } from './requests.ts'

const KB = 1024

const bytes = z.custom<Uint8Array>(v => v instanceof Uint8Array, 'must be bytes')

/** A coordinator tells a miner of a job it has a seat in; a hint only, the miner checks it against the network. */
export const tasksProtocol = {
  id: '/apus/tasks/1',
  request: z.object({
    network: processId,
    job: jobView,
    prompt: z.string().max(MAX_PROMPT_BYTES).optional(),
  }),
  response: z.object({
    status: z.enum(['accepted', 'known', 'busy', 'refused']),
    code: z.string().max(64).optional(),
  }),
  maxRequestBytes: MAX_PROMPT_BYTES + 64 * KB,
  maxResponseBytes: KB,
} as const satisfies RequestProtocol<z.ZodType, z.ZodType>

export const MAX_LISTED_STATEMENTS = 4096
export const MAX_FETCHED_STATEMENTS = 128

const statementId = bytes.refine(b => b.length === 16, 'must be 16 bytes')

/** Commitments that gossip missed: first the ids new since a place in the peer's book, then those not known here. */
export const syncProtocol = {
  id: '/apus/sync/1',
  request: z.discriminatedUnion('ask', [
    z.object({
      ask: z.literal('since'),
      network: processId,
      book: z.string().max(64),
      place: z.int().min(0),
    }),
    z.object({
      ask: z.literal('statements'),
      network: processId,
      ids: z.array(statementId).min(1).max(MAX_FETCHED_STATEMENTS),
    }),
    z.object({ ask: z.literal('job'), network: processId, job: jobId }),
  ]),
  response: z.union([
    z.object({
      book: z.string().max(64),
      place: z.int().min(0),
      more: z.boolean(),
      ids: z.array(statementId).max(MAX_LISTED_STATEMENTS),
    }),
    z.object({ statements: z.array(bytes).max(MAX_FETCHED_STATEMENTS) }),
  ]),
  maxRequestBytes: 4 * KB,
  maxResponseBytes: MAX_FETCHED_STATEMENTS * (MAX_COMMITMENT_BYTES + 8) + KB,
} as const satisfies RequestProtocol<z.ZodType, z.ZodType>

/** Longest answer a miner serves; 4,096 pieces of ordinary vocabularies stay far below it. */
export const MAX_ANSWER_BYTES = 512 * KB

/** The pieces of an answer too large to be revealed on AO; the caller checks them against the answer root. */
export const answersProtocol = {
  id: '/apus/answers/1',
  request: z.object({ network: processId, job: jobId, answerRoot: digestText }),
  response: z.object({ pieces: z.array(bytes).max(MAX_NEW_TOKENS) }),
  maxRequestBytes: KB,
  maxResponseBytes: MAX_ANSWER_BYTES + 4 * MAX_NEW_TOKENS + KB,
} as const satisfies RequestProtocol<z.ZodType, z.ZodType>
