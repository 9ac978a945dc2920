import { randomBytes } from 'node:crypto'
import {
  type Address,
  type JobId,
  type JobView,
  type ModelId,
  promptDigest,
  type SeatView,
} from '@apus/shared/protocol'
import { jobView } from '../../shared/src/protocol/job.ts'

export const idOf = <T extends string>(): T => randomBytes(32).toString('base64url') as T

export const PROMPT = 'Why is the sky blue?'

/** A job as AO publishes it, seated with the given seats. */
export const aJob = (parts: Partial<JobView> = {}): JobView =>
  jobView.parse({
    id: idOf<JobId>(),
    requester: idOf<Address>(),
    model: idOf<ModelId>(),
    class: 'test-class',
    verifiable: true,
    state: 'seated',
    redundancy: 1,
    maxTokens: 8,
    sampler: {},
    stop: [],
    format: 'text',
    promptHash: promptDigest(PROMPT),
    submitted: 0,
    deadline: 1_000_000,
    escrow: '10',
    seatPrice: '5',
    seats: [],
    ...parts,
  })

export const aSeat = (
  miner: Address,
  state: SeatView['state'] = 'drawn',
  parts: Partial<SeatView> = {},
): SeatView => ({
  miner,
  state,
  draw: 0,
  audit: false,
  ...parts,
})
