export { type DisputeView, type RevealedResult, tokensKey } from './dispute.ts'
export {
  type Address,
  address,
  type Digest,
  digestText,
  id32,
  type JobId,
  jobId,
  type ModelId,
  modelId,
  type ProcessId,
  processId,
} from './identity.ts'
export {
  ENDED,
  JOB_STATES,
  type JobState,
  type JobView,
  MAX_INLINE_ANSWER_BYTES,
  MAX_PROMPT_BYTES,
  type PromptFormat,
  promptDigest,
  type SeatView,
} from './job.ts'
export { MAX_CLASS_BYTES, MAX_NAME_BYTES } from './limits.ts'
export {
  commitmentOf,
  commitmentSalt,
  decodeTokens,
  encodeTokens,
  type Result,
  resultRoot,
  tokenDigest,
} from './round.ts'
export { MAX_PENALTY_WINDOW, Q16_ONE, type SamplerSettings } from './sampler.ts'
export { type SignedCommitment, signBinding, signCommitment } from './signed-commitment.ts'
export { formatApus, parseApus } from './units.ts'
export type { MinerView } from './views.ts'
