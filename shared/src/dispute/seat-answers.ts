import { fromBase64, fromHashes } from '../hashing/bytes.ts'
import { type DISPUTE_TREES, disputePayloads, seatAnswerKey } from '../protocol/dispute.ts'

export interface AnsweredPages {
  readonly k: Uint8Array
  readonly v: Uint8Array
  /** From the parent of the two pages upwards. */
  readonly path: readonly Uint8Array[]
}

export interface AnsweredLeaf {
  readonly leaf: Uint8Array
  readonly path: readonly Uint8Array[]
}

const leafOf = ({ leaf, path }: { readonly leaf: string; readonly path: string }): AnsweredLeaf => ({
  leaf: fromBase64(leaf),
  path: fromHashes(path),
})

/** What an accused seat has answered so far, as the network publishes it: checked by the contract, believed by nobody. */
export class SeatAnswers {
  readonly #read: (key: string) => string | undefined
  readonly #job: string
  readonly #accused: string

  /** `read` gives the text under `evidence/<key>`. */
  constructor(job: string, accused: string, read: (key: string) => string | undefined) {
    this.#job = job
    this.#accused = accused
    this.#read = read
  }

  level(tree: (typeof DISPUTE_TREES)[number], level: number, node: number): Uint8Array[] | undefined {
    const data = this.#json(seatAnswerKey.level(this.#job, this.#accused, tree, level, node))
    return data === undefined ? undefined : fromHashes(disputePayloads['Answer-Level'].parse(data).nodes)
  }

  pages(pair: number): AnsweredPages | undefined {
    const data = this.#json(seatAnswerKey.pages(this.#job, this.#accused, pair))
    if (data === undefined) return undefined
    const { k, v, path } = disputePayloads['Answer-Pages'].parse(data)
    return { k: fromBase64(k), v: fromBase64(v), path: fromHashes(path) }
  }

  stages(position: number) {
    const data = this.#json(seatAnswerKey.stages(this.#job, this.#accused, position))
    if (data === undefined) return undefined
    const { digests, operations, advice, checkpoint, piece } = disputePayloads['Answer-Stages'].parse(data)
    return {
      digests: fromHashes(digests),
      operations: operations === undefined ? undefined : fromHashes(operations),
      advice: advice === undefined ? undefined : fromBase64(advice),
      checkpoint: checkpoint && leafOf(checkpoint),
      piece: piece && leafOf(piece),
    }
  }

  operations(position: number, stage: number) {
    const data = this.#json(seatAnswerKey.operations(this.#job, this.#accused, position, stage))
    if (data === undefined) return undefined
    const { digests, advice } = disputePayloads['Answer-Operations'].parse(data)
    return { digests: fromHashes(digests), advice: advice === undefined ? undefined : fromBase64(advice) }
  }

  /** The operation's values, or the hashes of their leaves. */
  chunks(position: number, stage: number, operation: number) {
    const data = this.#json(seatAnswerKey.chunks(this.#job, this.#accused, position, stage, operation))
    if (data === undefined) return undefined
    const chunks = disputePayloads['Answer-Chunks'].parse(data)
    return 'values' in chunks
      ? { values: fromBase64(chunks.values), leaves: undefined }
      : { values: undefined, leaves: fromHashes(chunks.leaves) }
  }

  #json(key: string): unknown {
    const text = this.#read(key)
    return text === undefined || text === '' ? undefined : JSON.parse(text)
  }
}
