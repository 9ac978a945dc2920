import { hkdfSync } from 'node:crypto'
import { toBase64Url } from '@apus/shared/hashing'
import { ApusError } from '@apus/shared/kit'
import { answerRoot, promptTokensRoot } from '@apus/shared/machine'
import {
  type Address,
  commitmentOf,
  commitmentSalt,
  type Digest,
  encodeTokens,
  type JobView,
  type ProcessId,
  resultRoot,
  tokenDigest,
} from '@apus/shared/protocol'
import type { Generation, LoadedModel } from '../engine/engine.ts'
import type { Computed } from './journal.ts'

/** The key of all salts, from the node key's seed: whoever restores the backup can open what was committed. */
export const saltKey = (nodeSeed: Uint8Array): Uint8Array =>
  new Uint8Array(hkdfSync('sha256', nodeSeed, '', 'apus/salt', 32))

export interface Run {
  readonly computed: Computed
  readonly generation: Generation
  readonly promptTokens: number
}

/**
 * Runs one job and fixes what its commitment will be. Errors: `prompt-tokens-differ` when the requester's tokens are
 * not those of the prompt, and those of the engine.
 */
export async function runJob(
  options: {
    readonly network: ProcessId
    readonly me: Address
    readonly saltKey: Uint8Array
    readonly model: LoadedModel
    readonly job: JobView
    readonly prompt: string
  },
  signal: AbortSignal,
): Promise<Run> {
  const { network, me, model, job } = options
  const promptTokens = model.tokenize(options.prompt, job.format)
  const tokensRoot = promptTokensRoot(promptTokens)
  if (job.promptTokens !== undefined && job.promptTokens !== tokensRoot)
    throw new ApusError(
      'prompt-tokens-differ',
      'The prompt does not give the prompt tokens that the job names.',
      {
        blame: 'peer',
      },
    )
  const { sampler, maxTokens, stop } = job
  const generation = await model.generate({ promptTokens, sampler, maxTokens, stop, jobKey: job.id }, signal)
  if (
    generation.pieces.length !== generation.tokens.length ||
    toBase64Url(answerRoot(generation.pieces)) !== generation.answerRoot
  )
    throw new ApusError('engine-failed', 'The engine returned pieces that are not those of its tokens.')
  const result = {
    promptTokens: tokensRoot,
    count: generation.tokens.length,
    finish: generation.finish,
    tokenDigest: tokenDigest(generation.tokens),
    checkpointRoot: generation.checkpointRoot,
    kvRoot: generation.kvRoot,
    answerRoot: generation.answerRoot as Digest,
  }
  const root = resultRoot(network, job, result) as Digest
  const salt = commitmentSalt(options.saltKey, network, job.id)
  return {
    generation,
    promptTokens: promptTokens.length,
    computed: {
      commitment: commitmentOf(network, job.id, me, salt, root) as Digest,
      salt,
      resultRoot: root,
      result,
      tokens: Buffer.from(encodeTokens(generation.tokens)).toString('base64'),
      pieces: generation.pieces.map(p => Buffer.from(p).toString('base64')),
    },
  }
}
