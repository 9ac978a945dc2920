import { readFileSync } from 'node:fs'
import { setFlagsFromString } from 'node:v8'

// V8's baseline compiler makes a wrong dot product on processors without AVX; its optimising compiler, a right one on all.
setFlagsFromString('--no-liftoff')

type Address = number
type Bytes = number

/** The exports of kernels.wasm; addresses are of its memory, `n` counts values. Documented at the sources in assembly/. */
export interface Kernels {
  planeBytes(n: number): Bytes
  /** Of eight rows of a tensor; `columns` is a multiple of 32. */
  blockBytes(columns: number): Bytes
  attentionScratch(heads: number, size: number, context: number): Bytes
  /** 0 exp2, 1 sine, 2 sigmoid, 3 log2. */
  tableAddress(table: number): Address
  readonly TABLES_END: WebAssembly.Global
  packTile(tile: Address, rows: number, segment: number, row: number, tensor: Address, columns: number): void
  quantise(v: Address, n: number, planes: number, out: Address, fromBlock: number, toBlock: number): void
  linear(
    tensor: Address,
    rows: number,
    n: number,
    planes: number,
    a8: Address,
    stride: Bytes,
    vectors: number,
    out: Address,
    outStride: Bytes,
    add: 0 | 1,
    fromBlock: number,
    toBlock: number,
    scratch: Address,
  ): void
  norm(
    x: Address,
    gains: Address,
    n: number,
    epsilon: bigint,
    planes: number,
    out: Address,
    scratch: Address,
  ): void
  embed(tensor: Address, n: number, residual: number, token: number, out: Address): void
  angles(frequencies: Address, pairs: number, position: number, out: Address): void
  rotate(v: Address, heads: number, size: number, angles: Address): void
  queryRows(v: Address, heads: number, size: number, out: Address, exponents: Address): void
  pageRows(v: Address, heads: number, size: number, page: Address, stride: Bytes, row: number): void
  attention(
    queries: Address,
    exponents: Address,
    heads: number,
    size: number,
    position: number,
    qk: number,
    pageTable: Address,
    offset: Bytes,
    out: Address,
    scratch: Address,
  ): void
  activate(
    rows: Address,
    n: number,
    gate: number,
    hidden: number,
    planes: number,
    out: Address,
    scratch: Address,
    fromBlock: number,
    toBlock: number,
  ): void
  choose(logits: Address, vocab: number, settings: Address, masses: Address): number
  gumbel(random: number): number
  exp2n(d: number): number
  sigmoid(g: number, gate: number): number
  sine(turn: number): number
  cosine(turn: number): number
  rsqrt(v: bigint): bigint
  log2q(n: number): number
}

let compiled: WebAssembly.Module | undefined

/** The kernels on a memory whose tables are written. Errors: `WebAssembly.CompileError` on a processor that is too old. */
export function instantiateKernels(memory: WebAssembly.Memory): Kernels {
  compiled ??= new WebAssembly.Module(readFileSync(new URL('./kernels.wasm', import.meta.url)))
  return new WebAssembly.Instance(compiled, { env: { memory } }).exports as unknown as Kernels
}
