import { ApusError } from '@apus/shared/kit'

/** Leaves taken one by one, in their order, by the code that knows what comes next. */
export class LeafStream {
  readonly #leaves: AsyncGenerator<readonly [index: number, leaf: Uint8Array]>

  constructor(leaves: AsyncGenerator<readonly [index: number, leaf: Uint8Array]>) {
    this.#leaves = leaves
  }

  /** Errors: `bundle-invalid` at the end, and whatever reading fails with. */
  async take(): Promise<Uint8Array> {
    const { done, value } = await this.#leaves.next()
    if (done) throw new ApusError('bundle-invalid', 'The bundle has too few leaves.')
    return value[1]
  }

  /** Reads what nobody takes, so that it is checked as well. */
  async finish(): Promise<void> {
    while (!(await this.#leaves.next()).done);
  }

  /** Lets the source go; further leaves are not wanted. */
  async close(): Promise<void> {
    await this.#leaves.return(undefined)
  }
}
