import { EXP2, LOG2, SIGMOID, SIN } from '@apus/shared/machine'
import { instantiateKernels, type Kernels } from '../../../../../node/src/engine/cpu/kernels.ts'
import type { Random } from '../../../../support/random.ts'

const PAGES = 512

/** Kernels on a memory of their own, with typed views of it and a bump allocator. */
export class Workbench {
  readonly kernels: Kernels
  readonly i8: Int8Array
  readonly i16: Int16Array
  readonly i32: Int32Array
  readonly u8: Uint8Array
  readonly u32: Uint32Array
  readonly u64: BigUint64Array
  #next: number

  constructor() {
    const memory = new WebAssembly.Memory({ initial: PAGES, maximum: PAGES, shared: true })
    this.kernels = instantiateKernels(memory)
    this.i8 = new Int8Array(memory.buffer)
    this.i16 = new Int16Array(memory.buffer)
    this.i32 = new Int32Array(memory.buffer)
    this.u8 = new Uint8Array(memory.buffer)
    this.u32 = new Uint32Array(memory.buffer)
    this.u64 = new BigUint64Array(memory.buffer)
    for (const [i, table] of [EXP2, SIN, SIGMOID, LOG2].entries()) {
      this.u32.set(table, this.kernels.tableAddress(i) / 4)
    }
    this.#next = Number(this.kernels.TABLES_END.value)
  }

  /** Fresh room, aligned as the engine aligns it, filled with rubbish. */
  room(bytes: number): number {
    const at = Math.ceil(this.#next / 64) * 64
    this.#next = at + bytes + 64
    if (this.#next > this.u8.length) throw new Error('the workbench is too small')
    this.u8.fill(0x5a, at, this.#next)
    return at
  }

  put(values: Int32Array): number {
    const at = this.room(values.length * 4 + 1024)
    this.i32.set(values, at / 4)
    return at
  }

  read(at: number, count: number): Int32Array {
    return this.i32.slice(at / 4, at / 4 + count)
  }
}

/** An i32 of the machine: of any size, often at or beside an edge. */
export function anyValue(random: Random): number {
  const power = 2 ** random.below(31)
  const edge = Math.min(power + random.below(3) - 1, 2 ** 30 - 1)
  const v = random.below(3) === 0 ? edge : random.below(Math.max(1, edge))
  return random.below(2) === 0 ? v : -v
}

/** Values of one size, so that most of them matter beside the greatest. */
export function values(random: Random, count: number): Int32Array {
  const most = Math.max(1, Math.abs(anyValue(random)))
  const kind = random.below(4)
  return Int32Array.from({ length: count }, () => {
    if (kind === 0) return anyValue(random)
    if (kind === 1) return random.below(2) === 0 ? most : -most
    return random.below(2 * most + 1) - most
  })
}
