import { ApusError } from '@apus/shared'

/** A bundle's leaves in order from the manifest on, each already known to belong to its root. */
export type Leaves =
  | AsyncIterable<readonly [index: number, leaf: Uint8Array]>
  | Iterable<readonly [index: number, leaf: Uint8Array]>

/** Leaves taken one by one by the code that knows what comes next. */
export class LeafStream {
  readonly #next: () => Promise<IteratorResult<readonly [number, Uint8Array]>>
  readonly #end: () => Promise<unknown>
  #index = -1

  constructor(leaves: Leaves) {
    const iterator =
      Symbol.asyncIterator in leaves ? leaves[Symbol.asyncIterator]() : leaves[Symbol.iterator]()
    this.#next = async () => iterator.next()
    this.#end = async () => iterator.return?.()
  }

  /** Index of the leaf that was taken last. */
  get index(): number {
    return this.#index
  }

  /** Errors: `bundle-invalid` at the end, and whatever reading fails with. */
  async take(): Promise<Uint8Array> {
    const { done, value } = await this.#next()
    this.#index++
    if (done || value[0] !== this.#index) {
      throw new ApusError('bundle-invalid', `The bundle lacks the leaf ${this.#index}.`)
    }
    return value[1]
  }

  /** Lets the source go; further leaves are not wanted. */
  async close(): Promise<void> {
    await this.#end()
  }

  refuse(cause?: unknown): ApusError {
    return new ApusError(
      'bundle-invalid',
      `The leaf ${this.#index} of the bundle is not what the machine allows.`,
      {
        cause,
      },
    )
  }
}
