import { createHmac } from 'node:crypto'
import { digest } from '../hashing/digest.ts'
import type { Address, Digest, JobId, ProcessId } from './identity.ts'
import { type JobView, settingsDigest } from './job.ts'

const TOKEN_BYTES = 4

/** What a run of the job produced, besides what the job itself fixes. */
export interface Result {
  readonly promptTokens: string
  /** Chosen tokens, the last included. */
  readonly count: number
  readonly finish: 'stop' | 'length'
  readonly tokenDigest: string
  readonly checkpointRoot: string
  readonly kvRoot: string
  readonly answerRoot: string
}

export function resultRoot(
  network: ProcessId,
  job: Pick<JobView, 'id' | 'class' | 'model' | 'sampler' | 'stop' | 'maxTokens'>,
  r: Result,
): string {
  return digest(
    'apus/result',
    network,
    job.id,
    job.class,
    job.model,
    r.promptTokens,
    settingsDigest(job),
    String(r.count),
    r.finish,
    r.tokenDigest,
    r.checkpointRoot,
    r.kvRoot,
    r.answerRoot,
  )
}

/** Chosen tokens as a reveal carries them: u32 little-endian, one after the other. */
export const encodeTokens = (tokens: readonly number[]): Uint8Array => {
  const bytes = Buffer.alloc(tokens.length * TOKEN_BYTES)
  for (const [i, token] of tokens.entries()) bytes.writeUInt32LE(token, i * TOKEN_BYTES)
  return new Uint8Array(bytes)
}

export const decodeTokens = (bytes: Uint8Array): number[] =>
  Array.from({ length: bytes.length / TOKEN_BYTES }, (_, i) =>
    Buffer.from(bytes).readUInt32LE(i * TOKEN_BYTES),
  )

export const tokenDigest = (tokens: readonly number[]): Digest =>
  digest('apus/tokens', encodeTokens(tokens)) as Digest

/** The salt is derived, so a miner that lost its journal and kept its key commits and reveals the same again. */
export const commitmentSalt = (key: Uint8Array, network: ProcessId, job: JobId): string =>
  createHmac('sha256', key).update(network).update(job).digest('base64url')

export const commitmentOf = (
  network: ProcessId,
  job: JobId,
  miner: Address,
  salt: string,
  root: string,
): string => digest('apus/commitment', network, job, miner, salt, root)
