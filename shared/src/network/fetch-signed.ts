import type { AoClient } from '../ao/ao-client.ts'
import { addressOf, verifyItemFields } from '../arweave/data-item.ts'
import { ApusError } from '../kit/errors.ts'
import type { SignedMessage } from '../proofs/signed-messages.ts'
import type { Address, ProcessId } from '../protocol/identity.ts'

/** A message to the network as the accused's wallet signed it, and the wallet's public key (base64url). */
export interface OfWallet {
  readonly wallet: string
  readonly message: SignedMessage
}

/**
 * The message with this id as the accused's wallet signed it, checked. Errors: `unsigned` when it cannot be had, or what is
 * given for it does not carry the signature.
 */
export async function fetchSigned(
  { ao, network }: { readonly ao: Pick<AoClient, 'message'>; readonly network: ProcessId },
  accused: Address,
  id: string | undefined,
): Promise<OfWallet> {
  if (id === undefined)
    throw unsigned('The network does not name the message of the accused that the proof needs.')
  const given = await ao.message(network, id).catch(cause => {
    throw unsigned(`The message ${id} of the accused cannot be fetched with its signature.`, cause)
  })
  const { owner: wallet, target, anchor, tags, data, signature } = given
  const key = Buffer.from(wallet, 'base64url')
  const holds =
    addressOf(key) === accused &&
    target === network &&
    (await verifyItemFields({ target, anchor, tags, data }, key, Buffer.from(signature, 'base64url')))
  if (!holds) throw unsigned(`What AO gives as the message ${id} is not what the accused's wallet signed.`)
  const named = tags.map(({ name, value }) => ({ name, value }))
  return { wallet, message: { tags: named, ...(anchor === '' ? {} : { anchor }), signature, data } }
}

const unsigned = (message: string, cause?: unknown) => new ApusError('unsigned', message, { cause })
