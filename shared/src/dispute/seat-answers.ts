import { fromBase64, fromHashes } from '../hashing/bytes.ts'
import { type DISPUTE_TREES, disputePayloads, seatAnswerKey } from '../protocol/dispute.ts'

/** What answers say, from their Data. Errors: those of the schemas. */
export const readAnswer = {
  level: (data: unknown) => fromHashes(disputePayloads['Answer-Level'].parse(data).nodes),
  /** `path`: from the parent of the two pages upwards. */
  pages(data: unknown) {
    const { k, v, path } = disputePayloads['Answer-Pages'].parse(data)
    return { k: fromBase64(k), v: fromBase64(v), path: fromHashes(path) }
  },
  stages(data: unknown) {
    const { digests, operations, advice, checkpoint, piece } = disputePayloads['Answer-Stages'].parse(data)
    return {
      digests: fromHashes(digests),
      operations: operations === undefined ? undefined : fromHashes(operations),
      advice: advice === undefined ? undefined : fromBase64(advice),
      checkpoint: checkpoint && leafOf(checkpoint),
      piece: piece && leafOf(piece),
    }
  },
  operations(data: unknown) {
    const { digests, advice } = disputePayloads['Answer-Operations'].parse(data)
    return { digests: fromHashes(digests), advice: advice === undefined ? undefined : fromBase64(advice) }
  },
  /** The operation's values, or the hashes of their leaves. */
  chunks(data: unknown) {
    const chunks = disputePayloads['Answer-Chunks'].parse(data)
    return 'values' in chunks
      ? { values: fromBase64(chunks.values), leaves: undefined }
      : { values: undefined, leaves: fromHashes(chunks.leaves) }
  },
}

export type AnsweredStages = ReturnType<typeof readAnswer.stages>
export type AnsweredOperations = ReturnType<typeof readAnswer.operations>
export type AnsweredChunks = ReturnType<typeof readAnswer.chunks>

const leafOf = ({ leaf, path }: { readonly leaf: string; readonly path: string }) => ({
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

  level(tree: (typeof DISPUTE_TREES)[number], level: number, node: number) {
    return this.#answer(seatAnswerKey.level(this.#job, this.#accused, tree, level, node), readAnswer.level)
  }

  pages(pair: number) {
    return this.#answer(seatAnswerKey.pages(this.#job, this.#accused, pair), readAnswer.pages)
  }

  stages(position: number) {
    return this.#answer(seatAnswerKey.stages(this.#job, this.#accused, position), readAnswer.stages)
  }

  operations(position: number, stage: number) {
    const key = seatAnswerKey.operations(this.#job, this.#accused, position, stage)
    return this.#answer(key, readAnswer.operations)
  }

  chunks(position: number, stage: number, operation: number) {
    const key = seatAnswerKey.chunks(this.#job, this.#accused, position, stage, operation)
    return this.#answer(key, readAnswer.chunks)
  }

  #answer<T>(key: string, read: (data: unknown) => T): T | undefined {
    const text = this.#read(key)
    return text === undefined || text === '' ? undefined : read(JSON.parse(text))
  }
}
