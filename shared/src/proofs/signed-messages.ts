import { z } from 'zod'
import { addressOf, verifyItemFields } from '../arweave/data-item.ts'
import { ApusError } from '../kit/errors.ts'
import type { RevealedResult } from '../protocol/dispute.ts'
import type { Address, JobId, ProcessId } from '../protocol/identity.ts'
import { commitmentOf } from '../protocol/round.ts'

/** Bytes in base64url, in their one form. */
const base64url = z
  .string()
  .refine(text => Buffer.from(text, 'base64url').toString('base64url') === text, 'must be base64url')

/** What a wallet signed of a message to the network besides its Data. */
export const messageSignature = z.strictObject({
  tags: z.array(z.strictObject({ name: z.string(), value: z.string() })),
  anchor: z.string().min(1).optional(),
  signature: base64url,
})

/** A message to the network as a wallet signed it: all of an ANS-104 item but its owner and its target. */
export const signedMessage = messageSignature.extend({ data: z.string() })
export type SignedMessage = z.output<typeof signedMessage>

/** What a proof has of the accused's wallet: its public key, and the commitment and the reveal that it signed. */
export const signedClaim = z.strictObject({ wallet: base64url, commit: signedMessage, reveal: signedMessage })

/** Who must have signed, and to which process it was said. */
export interface Speaker {
  readonly network: ProcessId
  readonly accused: Address
  /** The accused's public key, base64url. */
  readonly wallet: string
}

/**
 * Checks that the accused's wallet has signed a message to the network with these tags; gives all its tags. Errors:
 * `wrong-wallet`, `bad-signature`, `wrong-message`.
 */
export async function checkSigned(
  said: SignedMessage,
  { network, accused, wallet }: Speaker,
  wanted: Readonly<Record<string, string>>,
): Promise<ReadonlyMap<string, string>> {
  const { tags, anchor, data, signature } = said
  const key = Buffer.from(wallet, 'base64url')
  if (addressOf(key) !== accused)
    throw invalid('wrong-wallet', 'The public key does not belong to the address of the accused.')
  const fields = { target: network, anchor, tags, data }
  if (!(await verifyItemFields(fields, key, Buffer.from(signature, 'base64url'))))
    throw invalid(
      'bad-signature',
      `The signature of the message ${wanted.Action} is not valid for the accused's wallet.`,
    )
  const values = new Map(tags.map(({ name, value }) => [name, value]))
  const says = Object.entries(wanted).every(([name, value]) => values.get(name) === value)
  if (!says || values.size !== tags.length)
    throw invalid(
      'wrong-message',
      `The tags of the accused's message ${wanted.Action} do not match the file.`,
    )
  return values
}

/** A result that a seat committed to and revealed. */
export interface RevealedClaim extends Speaker {
  readonly job: JobId
  readonly result: RevealedResult
  readonly resultRoot: string
  readonly commit: SignedMessage
  readonly reveal: SignedMessage
}

/** Checks that the accused's wallet signed the commitment to a result and its reveal. Errors: as `checkSigned`. */
export async function checkRevealed(claim: RevealedClaim): Promise<void> {
  const { network, accused, job, result, resultRoot } = claim
  const fields = Object.entries(result).map(([field, value]) => [tagOf(field), String(value)])
  const reveal = { Action: 'Reveal', Job: job, ...Object.fromEntries(fields) }
  const tags = await checkSigned(claim.reveal, claim, reveal)
  const commitment = commitmentOf(network, job, accused, tags.get('Salt') ?? '', resultRoot)
  await checkSigned(claim.commit, claim, { Action: 'Commit', Job: job, 'Output-Commitment': commitment })
}

/** `kvRoot` is the tag `Kv-Root`. */
const tagOf = (field: string): string =>
  field.replace(/[A-Z]/g, c => `-${c}`).replace(/^[a-z]/, c => c.toUpperCase())

const invalid = (code: string, message: string) => new ApusError(code, message, { blame: 'peer' })
