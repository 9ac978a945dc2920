import { z } from 'zod'
import { fromBase64, toBase64 } from '../hashing/bytes.ts'
import { ApusError } from '../kit/errors.ts'
import { revealedResult } from '../protocol/dispute.ts'
import { address, digestText, id32, jobId, processId } from '../protocol/identity.ts'
import { commitmentOf, resultRoot } from '../protocol/round.ts'
import { readCommitmentBytes, verifyCommitment } from '../protocol/signed-commitment.ts'
import type { ProofStory } from './proof-story.ts'
import { resultTerms } from './result-terms.ts'
import { checkRevealed, checkSigned, signedClaim, signedMessage } from './signed-messages.ts'

const bytesText = z.base64().refine(text => toBase64(fromBase64(text)) === text, 'must be base64')

/** The result that a seat has revealed, with what of the job fixes its root. */
const revealed = z.strictObject({
  ...resultTerms,
  statement: revealedResult,
  resultRoot: digestText,
})

/** One key that said two things of one seat: two signed commitments, or one and what the seat has revealed. */
export const equivocationProof = z.strictObject({
  kind: z.literal('equivocation'),
  v: z.literal(1),
  network: processId,
  job: jobId,
  accused: address,
  /** Peers whose keys speak for the accused: those that the statements name, in their order. */
  peers: z.array(z.string()).min(1).max(2),
  said: z
    .array(z.strictObject({ statement: bytesText, signature: bytesText, salt: id32, root: id32 }))
    .min(1)
    .max(2),
  revealed: revealed.optional(),
  /** `registers`: the messages by which the accused registered the peers, in their order. */
  signed: signedClaim
    .partial({ commit: true, reveal: true })
    .extend({ registers: z.array(signedMessage) })
    .optional(),
})
export type EquivocationProof = z.output<typeof equivocationProof>

/**
 * Checks that one registered key signed two commitments of one seat that open to different results, or one to another
 * result than the seat revealed. Errors: `bad-data`, `bad-statement`, `other-seat`, `wrong-key`, `wrong-opening`,
 * `bad-signature`, `same-root`, `wrong-result-root`, and those of `checkSigned`.
 */
export async function checkEquivocation(file: EquivocationProof): Promise<ProofStory> {
  const { job, accused, said, revealed, signed } = file
  if ((said.length === 1) !== (revealed !== undefined))
    throw invalid(
      'bad-data',
      'The file needs the revealed result with one signed commitment, and none with two.',
    )
  const opened = said.map(statement => openedBy(file, statement))
  const peers = [...new Set(opened.map(({ peer }) => peer))]
  if (peers.join() !== file.peers.join())
    throw invalid('wrong-key', 'The keys of the commitments are not the keys that the file names.')
  const [first, second] = [
    ...opened.map(({ root }) => root),
    ...(revealed ? [revealedRoot(file, revealed)] : []),
  ]
  if (first === undefined || second === undefined || first === second)
    throw invalid('same-root', 'Both commitments open to the same result root.')
  if (signed) await checkWallet(file, signed)
  return {
    guilty: true,
    model: revealed?.model,
    operation: 'equivocation',
    place: 'the commitment',
    token: undefined,
    claimed: first,
    expected: second,
    signed: signed !== undefined,
    lines: [
      `Job ${job}, miner ${accused}, node ${peers.join(' and ')}.`,
      'A run has one result, but for this run:',
      `  the node signed  ${first}`,
      `  ${revealed ? 'the miner said ' : 'the node signed'}  ${second}`,
      'Proven: the miner gave two results for one seat. The miner is at fault.',
      signed
        ? `The miner's wallet signed that this is its node${revealed ? ', its commitment and its reveal' : ''}.`
        : `The file has no signature of the miner's wallet: that this is its node${revealed ? ', and what it revealed,' : ''} is on trust.`,
    ],
  }
}

/** The root that a statement opens to, and the peer that signed it. */
function openedBy(
  { network, job, accused }: EquivocationProof,
  { statement, signature, salt, root }: EquivocationProof['said'][number],
): { readonly root: string; readonly peer: string } {
  const says = readCommitmentBytes(fromBase64(statement))
  if (says === undefined) throw invalid('bad-statement', 'The bytes are not a commitment in canonical CBOR.')
  if (says.network !== network || says.job !== job || says.miner !== accused)
    throw invalid('other-seat', 'The signed commitment names another network, job or miner.')
  if (commitmentOf(network, job, accused, salt, root) !== says.commitment)
    throw invalid('wrong-opening', 'The salt and the root do not open the commitment.')
  if (!verifyCommitment({ ...says, signature: fromBase64(signature) }))
    throw invalid('bad-signature', 'The signature of the commitment is not valid.')
  return { root, peer: says.peer }
}

function revealedRoot(
  { network, job: id }: EquivocationProof,
  { promptTokens, statement, resultRoot: claimed, ...terms }: z.output<typeof revealed>,
): string {
  const root = resultRoot(network, { id, ...terms }, { promptTokens, ...statement })
  if (root !== claimed) throw invalid('wrong-result-root', 'The revealed result does not give the root.')
  return root
}

async function checkWallet(
  { network, job, accused, peers, revealed }: EquivocationProof,
  { wallet, registers, commit, reveal }: NonNullable<EquivocationProof['signed']>,
): Promise<void> {
  const speaker = { network, accused, wallet }
  const isWhole = revealed ? commit && reveal : !commit && !reveal
  if (!isWhole || registers.length !== peers.length)
    throw invalid('bad-data', 'The signed messages are not those that the proof needs.')
  for (const [i, register] of registers.entries())
    await checkSigned(register, speaker, { Action: 'Register', 'Peer-Id': peers[i] ?? '' })
  if (revealed && commit && reveal) {
    const { statement: result, resultRoot } = revealed
    await checkRevealed({ ...speaker, job, result, resultRoot, commit, reveal })
  }
}

const invalid = (code: string, message: string) => new ApusError(code, message, { blame: 'peer' })
