import { generateKeyPairSync, sign } from 'node:crypto'
import { type DataItemFields, type ItemSigner, type SignedItem, signDataItem } from '../arweave/data-item.ts'
import { ApusError } from '../kit/errors.ts'
import type { AoMessageInput } from './ao-client.ts'

/** How `@permaweb/aoconnect` asks for a signature, as loosely as it types it. */
export type ConnectSigner = (...args: unknown[]) => Promise<SignedItem>

/** Its first argument gives the fields to sign when told that they are enough. */
type Create = (injected: { readonly passthrough: true }) => Promise<DataItemFields>

/** Signs the first time it is asked and gives the same item ever after, so that a repeated call is one message. */
export class SigningOnce {
  readonly #wallet: ItemSigner
  #signed: Promise<SignedItem> | undefined

  constructor(wallet: ItemSigner) {
    this.#wallet = wallet
  }

  readonly signer: ConnectSigner = async (...[create]) => {
    const fields = await (create as Create)({ passthrough: true })
    this.#signed ??= signDataItem(fields, this.#wallet)
    return this.#signed
  }

  /** Id of the signed item. */
  async id(): Promise<string> {
    if (!this.#signed) throw new Error('Nothing was signed yet.')
    return (await this.#signed).id
  }
}

/** Reads on a HyperBEAM node are signed by anybody, so by a key that lives as long as the client. */
export function readerKey(): ItemSigner {
  const { privateKey } = generateKeyPairSync('ed25519')
  const publicKey = Buffer.from(privateKey.export({ format: 'jwk' }).x ?? '', 'base64url')
  return { type: 2, publicKey, sign: async message => sign(null, message, privateKey) }
}

/** Names that aoconnect takes for itself in one mode or the other; as tags they would be lost without a word. */
const UNSENDABLE_TAGS: ReadonlySet<string> = new Set([
  'target',
  'anchor',
  'data',
  'data-protocol',
  'variant',
  'dryrun',
  'type',
  'path',
  'method',
])

/** Errors: `tag-unsendable`. */
export function checkSendable({ tags }: Pick<AoMessageInput, 'tags'>): void {
  for (const { name } of tags)
    if (UNSENDABLE_TAGS.has(name.toLowerCase()))
      throw new ApusError('tag-unsendable', `A message cannot carry a tag named ${name}.`)
}

/** Both modes replace missing data by something of their own; one space is the same in both. */
export const dataOf = (data: string | undefined): string => data || ' '
