import type { FileHandle } from 'node:fs/promises'
import { dequantise } from '../gguf/dequantise.ts'
import { ggufError } from '../gguf/gguf-error.ts'
import type { GgufTensor } from '../gguf/read-gguf.ts'

/** Bytes of a tensor kept at a time; a few of these are all of a model that import holds. */
const WINDOW = 1 << 20
/** Rows kept at least, so that the rows of one head, which import takes in another order, lie in one window. */
const MIN_ROWS = 128

/** Reads rows of one tensor, best in about ascending order. */
export class RowReader {
  readonly columns: number
  readonly rows: number
  readonly #file: FileHandle
  readonly #tensor: GgufTensor
  readonly #rowBytes: number
  readonly #capacity: number
  #window: Buffer | undefined
  #from = 0
  #to = 0

  constructor(file: FileHandle, tensor: GgufTensor) {
    this.#file = file
    this.#tensor = tensor
    this.columns = tensor.shape[0] ?? 0
    this.rows = tensor.shape[1] ?? 1
    this.#rowBytes = tensor.bytes / this.rows
    let capacity = MIN_ROWS
    while (capacity * 2 * this.#rowBytes <= WINDOW) capacity *= 2
    this.#capacity = Math.min(capacity, this.rows)
  }

  /** The values of row `row` (exactly those of the file). Errors: `gguf-truncated`, `gguf-not-finite`. */
  async read(row: number): Promise<Float32Array> {
    const window = await this.#windowWith(row)
    const at = (row - this.#from) * this.#rowBytes
    const values = new Float32Array(this.columns)
    dequantise(this.#tensor.type.name, window.subarray(at, at + this.#rowBytes), values, this.#tensor.name)
    return values
  }

  async #windowWith(row: number): Promise<Buffer> {
    if (this.#window !== undefined && row >= this.#from && row < this.#to) return this.#window
    const from = row - (row % this.#capacity)
    const count = Math.min(this.#capacity, this.rows - from)
    const length = count * this.#rowBytes
    const window = this.#window ?? Buffer.alloc(this.#capacity * this.#rowBytes)
    for (let have = 0; have < length; ) {
      const position = this.#tensor.offset + from * this.#rowBytes + have
      const { bytesRead } = await this.#file.read(window, have, length - have, position)
      if (bytesRead === 0)
        throw ggufError('gguf-truncated', 'The model file became shorter while it was read.')
      have += bytesRead
    }
    this.#window = window
    this.#from = from
    this.#to = from + count
    return window
  }
}
