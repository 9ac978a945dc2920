import { brokenRule, shownPieces } from '../../../shared/src/dispute/one-message-proof.ts'
import { equalBytes } from '../../../shared/src/hashing/bytes.ts'
import { disputePayloads } from '../../../shared/src/protocol/dispute.ts'
import { type CourtJob, refuse } from './court-job.ts'

/** Refuses a Prove-Structure that shows no checkpoint of the seat, or one that breaks no rule. */
export function demandBrokenRule(job: CourtJob, index: number, data: unknown): void {
  const shown = disputePayloads['Prove-Structure'].parse(data)
  if (brokenRule({ ...job, index }, shown) === undefined) refuse('not-proven')
}

/** Refuses a Prove-Answer that shows no piece of the seat, or the piece of its own token. */
export function demandWrongPiece(job: CourtJob, index: number, data: unknown): void {
  const { said, own } = shownPieces({ ...job, index }, disputePayloads['Prove-Answer'].parse(data))
  if (equalBytes(said, own)) refuse('not-proven')
}
