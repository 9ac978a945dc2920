import type { Manifest } from '@apus/shared/machine'
import type { Kernels } from './kernels.ts'
import type { LayerPlace, MemoryPlan, TensorPlace, Workspace } from './memory-plan.ts'
import { BLOCK_ROWS, pageBytes, SETTINGS_WORDS, tablePages } from './sizes.ts'
import type { Member } from './team.ts'

/** Units of rows that each thread finds in a linear: enough that a thread which is held up does little. */
const UNITS_PER_THREAD = 8

/** One shard as a thread sees it. */
interface Shard {
  readonly kernels: Kernels
  readonly words: Uint32Array
  readonly at: Workspace
  readonly scratch: number
}

/** The forward pass of one thread: every thread runs the same steps and shares their units. */
export class ForwardPass {
  readonly #shape: Manifest
  readonly #plan: MemoryPlan
  readonly #shards: readonly Shard[]
  readonly #member: Member
  #now: Shard

  constructor(
    shape: Manifest,
    plan: MemoryPlan,
    shards: readonly { memory: WebAssembly.Memory; kernels: Kernels }[],
    member: Member,
  ) {
    this.#shape = shape
    this.#plan = plan
    this.#member = member
    this.#shards = shards.map(({ memory, kernels }, i) => {
      const at = plan.shards[i] as Workspace
      return {
        kernels,
        words: new Uint32Array(memory.buffer),
        at,
        scratch: at.scratch[member.thread] as number,
      }
    })
    this.#now = this.#shards[0] as Shard
  }

  /** Computes the commanded columns; those that choose a token stand first, their tokens are left in the settings. */
  run(): void {
    const { columns, choosing } = this.#member
    this.#embed(columns)
    const last = this.#plan.layers.length - 1
    for (const [l, layer] of this.#plan.layers.entries()) {
      this.#enter(layer.shard, columns)
      this.#rows(layer, columns)
      // Positions that choose nothing end with their keys and values.
      const rest = l === last ? choosing : columns
      if (rest === 0) return
      this.#attend(layer, rest)
      this.#feedForward(layer, rest)
    }
    this.#enter(this.#plan.head.shard, choosing)
    this.#choose(choosing)
  }

  #embed(columns: number): void {
    const { embedding } = this.#plan
    this.#now = this.#shards[embedding.shard] as Shard
    const { kernels, at } = this.#now
    const { width, formats } = this.#shape
    this.#member.share(columns, c => {
      kernels.embed(embedding.address, width, formats.residual, this.#member.token(c), at.x + c * width * 4)
      this.#angles(c)
    })
  }

  #angles(column: number): void {
    const { kernels, at } = this.#now
    const { headSize } = this.#shape
    kernels.angles(
      at.frequencies,
      headSize / 2,
      this.#member.position(column),
      at.angles + column * headSize * 4,
    )
  }

  /** Moves the residuals to another shard, where the next stage is. */
  #enter(shard: number, columns: number): void {
    const from = this.#now
    const to = this.#shards[shard] as Shard
    if (from === to) return
    this.#now = to
    const { width } = this.#shape
    this.#member.share(columns, c => {
      const x = from.at.x / 4 + c * width
      to.words.set(from.words.subarray(x, x + width), to.at.x / 4 + c * width)
      this.#angles(c)
    })
  }

  #norm(gains: number, planes: number, columns: number): void {
    const { kernels, at, scratch } = this.#now
    const { width, epsilon } = this.#shape
    const wide = BigInt(epsilon)
    this.#member.share(columns, c =>
      kernels.norm(at.x + c * width * 4, gains, width, wide, planes, at.a8 + c * at.a8Stride, scratch),
    )
  }

  #linear(tensor: TensorPlace, columns: number, out: number, outStride: number, add: 0 | 1): void {
    const { kernels, at, scratch } = this.#now
    const { address, rows, n, planes } = tensor
    const blocks = Math.ceil(rows / BLOCK_ROWS)
    const { threads } = this.#member
    const units = threads === 1 ? 1 : Math.min(blocks, threads * UNITS_PER_THREAD)
    this.#member.share(units, unit =>
      kernels.linear(
        address,
        rows,
        n,
        planes,
        at.a8,
        at.a8Stride,
        columns,
        out,
        outStride,
        add,
        Math.floor((unit * blocks) / units),
        Math.floor(((unit + 1) * blocks) / units),
        scratch,
      ),
    )
  }

  /** Queries, keys and values of the columns; keys and values go into their pages. */
  #rows(layer: LayerPlace, columns: number): void {
    const { kernels, at } = this.#now
    const { heads, kvHeads, headSize } = this.#shape
    this.#norm(layer.firstGains, layer.qkv.planes, columns)
    const stride = layer.qkv.rows * 4
    this.#linear(layer.qkv, columns, at.rows, stride, 0)
    const bytes = pageBytes(this.#shape)
    this.#member.share(columns, c => {
      const queries = at.rows + c * stride
      const keys = queries + heads * headSize * 4
      kernels.rotate(queries, heads + kvHeads, headSize, at.angles + c * headSize * 4)
      kernels.queryRows(
        queries,
        heads,
        headSize,
        at.queries + c * heads * headSize * 2,
        at.exponents + c * heads * 4,
      )
      const position = this.#member.position(c)
      const page = this.#slot(c, position >> 6) + layer.index * kvHeads * 2 * bytes
      kernels.pageRows(keys, kvHeads, headSize, page, 2 * bytes, position & 63)
      kernels.pageRows(
        keys + kvHeads * headSize * 4,
        kvHeads,
        headSize,
        page + bytes,
        2 * bytes,
        position & 63,
      )
    })
  }

  #pageTable(column: number): number {
    return this.#now.at.pageTables + this.#member.sequence(column) * tablePages(this.#plan.limits) * 4
  }

  #slot(column: number, page: number): number {
    return this.#now.words[this.#pageTable(column) / 4 + page] as number
  }

  /** Attention of the columns and its projection, added to x. */
  #attend(layer: LayerPlace, columns: number): void {
    const { kernels, at, scratch } = this.#now
    const { heads, kvHeads, headSize, formats } = this.#shape
    const perHead = heads / kvHeads
    const bytes = pageBytes(this.#shape)
    this.#member.share(columns * kvHeads, unit => {
      const c = Math.floor(unit / kvHeads)
      const kv = unit % kvHeads
      const head = kv * perHead
      kernels.attention(
        at.queries + (c * heads + head) * headSize * 2,
        at.exponents + (c * heads + head) * 4,
        perHead,
        headSize,
        this.#member.position(c),
        formats.qk,
        this.#pageTable(c),
        (layer.index * kvHeads + kv) * 2 * bytes,
        at.attended + c * at.attendedStride + head * headSize * 4,
        scratch,
      )
    })
    const { n, planes } = layer.o
    const blocks = Math.ceil(n / 256)
    this.#member.share(columns * blocks, unit => {
      const c = Math.floor(unit / blocks)
      const block = unit % blocks
      kernels.quantise(
        at.attended + c * at.attendedStride,
        n,
        planes,
        at.a8 + c * at.a8Stride,
        block,
        block + 1,
      )
    })
    this.#linear(layer.o, columns, at.x, this.#shape.width * 4, 1)
  }

  #feedForward(layer: LayerPlace, columns: number): void {
    const { kernels, at, scratch } = this.#now
    const { hidden, formats } = this.#shape
    this.#norm(layer.secondGains, layer.gateUp.planes, columns)
    const stride = layer.gateUp.rows * 4
    this.#linear(layer.gateUp, columns, at.rows, stride, 0)
    const blocks = Math.ceil(hidden / 256)
    this.#member.share(columns * blocks, unit => {
      const c = Math.floor(unit / blocks)
      const block = unit % blocks
      kernels.activate(
        at.rows + c * stride,
        hidden,
        formats.gate,
        formats.hidden,
        layer.down.planes,
        at.a8 + c * at.a8Stride,
        scratch,
        block,
        block + 1,
      )
    })
    this.#linear(layer.down, columns, at.x, this.#shape.width * 4, 1)
  }

  /** Logits and the tokens chosen from them; each token replaces the first word of its column's settings. */
  #choose(choosing: number): void {
    const { kernels, words } = this.#now
    const { gains, output, logits, settings, masses } = this.#plan.head
    const { vocab } = this.#shape
    this.#norm(gains, output.planes, choosing)
    this.#linear(output, choosing, logits, vocab * 4, 0)
    this.#member.share(choosing, c => {
      const at = settings + c * SETTINGS_WORDS * 4
      const token = kernels.choose(logits + c * vocab * 4, vocab, at, masses[this.#member.thread] as number)
      words[at / 4] = token
    })
  }
}
