import { z } from 'zod'
import { digestText, modelId } from '../protocol/identity.ts'
import { stopStrings } from '../protocol/job.ts'
import { samplerSettings } from '../protocol/sampler.ts'

/** What of a job, besides its id, a result root covers: fields that proof files have of it. */
export const resultTerms = {
  class: z.string(),
  model: modelId,
  sampler: samplerSettings,
  stop: stopStrings,
  maxTokens: z.int(),
  promptTokens: digestText,
}
