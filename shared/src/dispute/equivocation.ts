import { toBase64 } from '../hashing/bytes.ts'
import type { ProcessId } from '../protocol/identity.ts'
import type { JobView, SeatView } from '../protocol/job.ts'
import { commitmentOf } from '../protocol/round.ts'
import { commitmentBytes, type SignedCommitment } from '../protocol/signed-commitment.ts'
import type { DisputeMessage } from './message.ts'

/** A signed commitment and what it opens to. */
export interface OpenedCommitment {
  readonly signed: SignedCommitment
  readonly salt: string
  readonly root: string
}

/** The message that convicts a seat of the job whose key signed both statements; one is enough against a reveal. */
export const equivocationMessage = (
  job: string,
  accused: string,
  said: readonly OpenedCommitment[],
): DisputeMessage => ({
  action: 'Prove-Equivocation',
  tags: { Job: job, Accused: accused },
  data: {
    said: said.map(({ signed, salt, root }) => ({
      statement: toBase64(commitmentBytes(signed)),
      signature: toBase64(signed.signature),
      salt,
      root,
    })),
  },
})

/**
 * The proof that a seat signed a commitment to another result than it revealed, from its gossiped commitments; undefined
 * when none of them opens, with the salt that it revealed, to a result of the job that is known.
 */
export function equivocationProof(
  network: ProcessId,
  job: JobView,
  seat: SeatView,
  signed: readonly SignedCommitment[],
): DisputeMessage | undefined {
  const { salt, resultRoot, commitment, miner } = seat
  if (salt === undefined || resultRoot === undefined) return undefined
  const others = signed.filter(s => s.job === job.id && s.miner === miner && s.commitment !== commitment)
  if (others.length === 0) return undefined
  const roots = new Set(job.seats.flatMap(s => s.resultRoot ?? []))
  roots.delete(resultRoot)
  for (const root of roots) {
    const made = commitmentOf(network, job.id, miner, salt, root)
    const found = others.find(s => s.commitment === made)
    if (found !== undefined) return equivocationMessage(job.id, miner, [{ signed: found, salt, root }])
  }
  return undefined
}
