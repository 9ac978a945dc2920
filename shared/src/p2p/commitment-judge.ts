import { errorCode } from '../kit/errors.ts'
import type { Address, JobId, ProcessId } from '../protocol/identity.ts'
import { decodeCommitment, type SignedCommitment, verifyCommitment } from '../protocol/signed-commitment.ts'

/** What a node knows of the network when it judges a commitment. */
export interface CommitmentFacts {
  readonly network: ProcessId
  /** The peer that speaks for a miner; undefined when this node has not heard of the miner yet. */
  registration(miner: Address): string | undefined
  /** True when this node knows that the miner has a seat in the job. */
  seated(job: JobId, miner: Address): boolean
}

export type Judgement =
  | { readonly verdict: 'accept'; readonly signed: SignedCommitment; readonly seated: boolean }
  /** Signed well, but by a miner not known here yet. */
  | { readonly verdict: 'wait'; readonly signed: SignedCommitment }
  /** `forged`: whoever sent it must have known, because no view of the network makes it right. */
  | { readonly verdict: 'reject'; readonly code: string; readonly forged: boolean }

const reject = (code: string, forged: boolean): Judgement => ({ verdict: 'reject', code, forged })

/** Judges the bytes of a commitment, wherever they came from. */
export function judgeCommitment(bytes: Uint8Array, facts: CommitmentFacts): Judgement {
  let signed: SignedCommitment
  try {
    signed = decodeCommitment(bytes)
  } catch (error) {
    return reject(errorCode(error) ?? 'statement-invalid', true)
  }
  if (signed.network !== facts.network) return reject('wrong-network', true)
  if (!verifyCommitment(signed)) return reject('signature-invalid', true)
  const peer = facts.registration(signed.miner)
  if (peer === undefined) return { verdict: 'wait', signed }
  if (peer !== signed.peer) return reject('peer-not-registered', false)
  return { verdict: 'accept', signed, seated: facts.seated(signed.job, signed.miner) }
}
