import { activate } from './activation.ts'
import { type AttentionNode, attendGroup, attendHead, attendPage, encodeNode } from './attention.ts'
import type { Tensor } from './layout.ts'
import { embedRow, linearRow, sumParts } from './linear.ts'
import type { Model } from './model.ts'
import { encodeParts, encodeScale, normed, normParts, normScale } from './norm.ts'
import { sat } from './numbers.ts'
import { type A8, encodeA8, type PlaneCount, quantize } from './quantizer.ts'
import { CACHE_LIMIT, encodeRow, Page, QUERY_LIMIT, type Row, rotate, rowOf } from './rows.ts'
import { GROUP_PAGES, HEAD_SET, LEAF_VALUES, OPERATION_VALUES, PAGE_ROWS } from './sizes.ts'

/** Told of every operation in the plan's order; `leaves` encodes its value and may be called until it returns. */
export type OperationListener = (stage: number, name: string, leaves: () => Uint8Array[]) => void

/** Where a sequence begins: K/V pages in the order of their tree. Rows from `position` on are written before they are read. */
export interface SequenceStart {
  readonly position: number
  readonly pages: readonly Uint8Array[]
}

const EMBED_STAGE = 0
const unheard: OperationListener = () => {}

/** One sequence of tokens through the model, a position at a time: the meaning of SPEC.md §3.2–3.6. */
export class Sequence {
  readonly model: Model
  /** pages[layer][kv head] = [keys, values] of each page. */
  readonly #pages: [Page, Page][][][]
  #listen: OperationListener = unheard
  #position: number

  /** Errors: RangeError when a page is missing or has another length. */
  constructor(model: Model, start: SequenceStart = { position: 0, pages: [] }) {
    const { layers, kvHeads, headSize } = model.manifest
    const decode = (leaf: number): Page => Page.decode(start.pages[leaf] ?? new Uint8Array(), headSize)
    this.model = model
    this.#position = start.position
    this.#pages = Array.from({ length: layers }, (_, layer) =>
      Array.from({ length: kvHeads }, (_, head) =>
        Array.from({ length: Math.ceil(start.position / PAGE_ROWS) }, (_, page): [Page, Page] => {
          const pair = (page * layers + layer) * kvHeads + head
          return [decode(2 * pair), decode(2 * pair + 1)]
        }),
      ),
    )
  }

  /** Positions fed so far. */
  get position(): number {
    return this.#position
  }

  page(page: number, layer: number, head: number, kind: 0 | 1): Page | undefined {
    return this.#pages[layer]?.[head]?.[page]?.[kind]
  }

  /**
   * Feeds a token at the next position. Returns x_final, or undefined when `last` is false: then the last layer ends
   * with its K/V rows, as for every prompt token but the last.
   */
  feed(token: number, last: boolean, listen?: OperationListener): Int32Array | undefined {
    return atOnce(this.layerwise(token, last, listen))
  }

  /** The same with a pause after every layer; nothing else may be fed until it ends. */
  *layerwise(
    token: number,
    last: boolean,
    listen: OperationListener = unheard,
  ): Generator<undefined, Int32Array | undefined> {
    this.#listen = listen
    const { layers, width, formats } = this.model.manifest
    const [tile, row] = this.model.tile(this.model.layout.embedding, token, 0)
    let x = embedRow(tile, row, width, formats.residual)
    this.#listen(EMBED_STAGE, 'embed', () => encodeValues(x))
    const position = this.#position++
    for (let layer = 0; layer < layers; layer++) {
      const after = this.#layer(layer, x, position, last || layer < layers - 1)
      if (!after) return undefined
      x = after
      yield
    }
    return x
  }

  /** Logits (Q16) of x_final. */
  logits(x: Int32Array, listen: OperationListener = unheard): Int32Array {
    this.#listen = listen
    const { layers, planes } = this.model.manifest
    const input = this.#norm(layers + 1, 'nf', x, 2 * layers, planes.output)
    return this.#linear(layers + 1, 'logits', this.model.layout.output, input)
  }

  #layer(layer: number, x: Int32Array, position: number, whole: boolean): Int32Array | undefined {
    const { formats, planes } = this.model.manifest
    const stage = layer + 1
    const tensors = this.model.layout.layers[layer] as NonNullable<(typeof this.model.layout.layers)[number]>
    const first = this.#norm(stage, 'n1', x, 2 * layer, planes.qkv)
    const projected = this.#linear(stage, 'qkv', tensors.qkv, first)
    const queries = this.#rows(stage, layer, projected, position)
    if (!whole) return undefined
    const out = this.#attend(stage, layer, queries, position)
    const attended = this.#quantize(stage, 'out.quant', out, planes.o)
    const middle = this.#linear(stage, 'o', tensors.o, attended, x)
    const second = this.#norm(stage, 'n2', middle, 2 * layer + 1, planes.gateUp)
    const pairs = this.#linear(stage, 'gate_up', tensors.gateUp, second)
    const hidden = this.#quantize(stage, 'act', activate(pairs, formats.gate, formats.hidden), planes.down)
    return this.#linear(stage, 'down', tensors.down, hidden, middle)
  }

  #norm(stage: number, name: string, x: Int32Array, norm: number, planes: PlaneCount): A8 {
    const parts = normParts(x)
    this.#listen(stage, `${name}.part`, () => encodeParts(parts))
    const scale = normScale(parts, this.model.manifest.epsilon)
    this.#listen(stage, `${name}.scale`, () => [encodeScale(scale)])
    return this.#quantize(stage, `${name}.quant`, normed(x, scale, this.model.gains(norm)), planes)
  }

  #quantize(stage: number, name: string, values: Int32Array, planes: PlaneCount): A8 {
    const a8 = quantize(values, planes)
    this.#listen(stage, name, () => encodeA8(a8))
    return a8
  }

  /** Tensor times input, plus the residual where one is given; told as operations of at most 8192 values. */
  #linear(stage: number, name: string, tensor: Tensor, input: A8, residual?: Int32Array): Int32Array {
    const parts = Array.from({ length: tensor.segments }, (_, segment) =>
      Int32Array.from({ length: tensor.rows }, (_, row) => {
        const [tile, at] = this.model.tile(tensor, row, segment)
        return linearRow(tile, at, input, segment)
      }),
    )
    if (parts.length > 1) {
      for (const [s, part] of parts.entries())
        this.#listen(stage, `${name}.part.${s}`, () => encodeValues(part))
    }
    const y = Int32Array.from({ length: tensor.rows }, (_, row) => {
      const value = sumParts(parts.map(part => part[row] as number))
      return residual ? sat((residual[row] as number) + value) : value
    })
    if (residual) this.#listen(stage, name, () => encodeValues(y))
    else this.#slices(stage, name, y)
    return y
  }

  #slices(stage: number, name: string, y: Int32Array): void {
    for (let i = 0; i * OPERATION_VALUES < y.length; i++) {
      this.#listen(stage, `${name}.${i}`, () =>
        encodeValues(y.subarray(i * OPERATION_VALUES, (i + 1) * OPERATION_VALUES)),
      )
    }
  }

  /** Makes the rows of all heads, writes keys and values to their pages, returns the queries. */
  #rows(stage: number, layer: number, projected: Int32Array, position: number): Row[] {
    const { heads, kvHeads, headSize } = this.model.manifest
    const rows = Array.from({ length: heads + 2 * kvHeads }, (_, unit) => {
      const values = projected.subarray(unit * headSize, (unit + 1) * headSize)
      const turned = unit < heads + kvHeads ? rotate(values, this.model.frequencies, position) : values
      return rowOf(turned, unit < heads ? QUERY_LIMIT : CACHE_LIMIT)
    })
    const page = Math.floor(position / PAGE_ROWS)
    for (let head = 0; head < kvHeads; head++) {
      const pages = this.#pages[layer]?.[head] as [Page, Page][]
      pages[page] ??= [new Page(headSize), new Page(headSize)]
      for (const kind of [0, 1] as const) {
        pages[page][kind].set(position % PAGE_ROWS, rows[heads + kind * kvHeads + head] as Row)
      }
    }
    this.#listen(stage, 'rows', () => rows.map(encodeRow))
    this.#listen(stage, 'link', () => Array.from({ length: 2 * kvHeads }, () => Uint8Array.of(1)))
    return rows.slice(0, heads)
  }

  #attend(stage: number, layer: number, queries: readonly Row[], position: number): Int32Array {
    const { heads, kvHeads, headSize, formats } = this.model.manifest
    const pageCount = Math.floor(position / PAGE_ROWS) + 1
    const pages = queries.map((query, head) => {
      const cache = this.#pages[layer]?.[Math.floor((head * kvHeads) / heads)] as [Page, Page][]
      return Array.from({ length: pageCount }, (_, p) => {
        const [keys, values] = cache[p] as [Page, Page]
        return attendPage(query, keys, values, Math.min(PAGE_ROWS, position + 1 - p * PAGE_ROWS), formats.qk)
      })
    })
    const groupCount = Math.ceil(pageCount / GROUP_PAGES)
    const sets = Array.from({ length: Math.ceil(heads / HEAD_SET) }, (_, c) => c * HEAD_SET)
    for (let g = 0; g < groupCount; g++) {
      for (const [c, from] of sets.entries()) {
        this.#listen(stage, `page.${g}.${c}`, () =>
          pages
            .slice(from, from + HEAD_SET)
            .flatMap(head => head.slice(g * GROUP_PAGES, (g + 1) * GROUP_PAGES).map(encodeNode)),
        )
      }
    }
    const groups = pages.map(head =>
      Array.from(
        { length: groupCount },
        (_, g): AttentionNode => attendGroup(head.slice(g * GROUP_PAGES, (g + 1) * GROUP_PAGES)),
      ),
    )
    for (const [c, from] of sets.entries()) {
      this.#listen(stage, `group.${c}`, () =>
        groups.slice(from, from + HEAD_SET).flatMap(head => head.map(encodeNode)),
      )
    }
    const out = new Int32Array(heads * headSize)
    for (const [head, nodes] of groups.entries()) out.set(attendHead(nodes), head * headSize)
    this.#listen(stage, 'out', () => encodeValues(out))
    return out
  }
}

/** What a computation gives that is not paused where it could be. */
export function atOnce<T>(paused: Iterator<undefined, T>): T {
  let step = paused.next()
  while (!step.done) step = paused.next()
  return step.value
}

/** Leaves of 1024 i32 each. */
export function encodeValues(values: Int32Array): Uint8Array[] {
  const leaves: Uint8Array[] = []
  for (let from = 0; from < values.length; from += LEAF_VALUES) {
    leaves.push(new Uint8Array(values.slice(from, from + LEAF_VALUES).buffer))
  }
  return leaves
}
