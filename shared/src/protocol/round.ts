import { createHmac } from 'node:crypto'
import { digest } from '../hashing/digest.ts'
import type { Address, JobId, ProcessId } from './identity.ts'
import { type JobView, settingsDigest } from './job.ts'

/** What a run of the job produced, besides what the job itself fixes. */
export interface Result {
  readonly promptTokens: string
  /** Chosen tokens, the last included. */
  readonly count: number
  readonly finish: 'stop' | 'length'
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
    r.checkpointRoot,
    r.kvRoot,
    r.answerRoot,
  )
}

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
