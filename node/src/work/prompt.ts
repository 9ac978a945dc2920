import { ApusError, describeError } from '@apus/shared/kit'
import { type JobView, MAX_PROMPT_BYTES, promptDigest } from '@apus/shared/protocol'
import type { PromptSource } from './ports.ts'

/**
 * The prompt of a job, from a hint or from where the job says, checked against its hash. Errors: `prompt-unavailable`
 * (may appear later), `prompt-mismatch` (what the job points at is something else).
 */
export async function findPrompt(
  job: JobView,
  hint: string | undefined,
  source: PromptSource,
  signal: AbortSignal,
): Promise<string> {
  if (hint !== undefined && isPromptOf(job, hint)) return hint
  const found =
    job.promptId === undefined
      ? await published(job, source)
      : await fromArweave(job.promptId, source, signal)
  if (isPromptOf(job, found)) return found
  throw new ApusError(
    'prompt-mismatch',
    'The prompt found for the job does not have the hash that the job names.',
    {
      blame: 'peer',
    },
  )
}

const isPromptOf = (job: JobView, text: string): boolean =>
  Buffer.byteLength(text) <= MAX_PROMPT_BYTES && promptDigest(text) === job.promptHash

async function published(job: JobView, source: PromptSource): Promise<string> {
  const text = await source.published(job.id)
  if (text !== undefined) return text
  throw unavailable('The network has not published the prompt of the job.')
}

async function fromArweave(id: string, source: PromptSource, signal: AbortSignal): Promise<string> {
  if (source.arweave === undefined) throw unavailable('The prompt is on Arweave and no gateway is set.')
  try {
    return new TextDecoder('utf-8', { fatal: true }).decode(
      await source.arweave(id, MAX_PROMPT_BYTES, signal),
    )
  } catch (cause) {
    signal.throwIfAborted()
    throw unavailable(`The prompt could not be fetched from Arweave (${describeError(cause)}).`, cause)
  }
}

const unavailable = (message: string, cause?: unknown) =>
  new ApusError('prompt-unavailable', message, { retry: true, blame: 'nobody', cause })
