import { firstRows, type NoiseKey, PAGE_ROWS } from '@apus/shared/machine'
import { MAX_PENALTY_WINDOW, type SamplerSettings } from '@apus/shared/protocol'
import { type Dispatch, encode, type ForwardPass, TOKEN_CHOSEN } from './forward-pass.ts'
import type { GpuDevice, ReadBack } from './gpu-device.ts'
import { type GpuState, partialPages, SAMPLER_WORDS, slotsOf, tablePages } from './gpu-state.ts'
import { type ModelShape, pageWords, residualStride } from './model-shape.ts'
import { pageDigestRequest } from './page-digest-request.ts'
import { packSampler } from './sampler-words.ts'

/** One sequence's next position: its token, or the one that the device chose in the step before. */
export interface DecodeColumn {
  readonly sequence: number
  readonly position: number
  readonly token: number | 'chosen'
}

export interface Decoded {
  readonly token: number
  /** The residual after the last layer, whose logits chose the token. */
  readonly xFinal: Int32Array
}

/**
 * One model on one device: several sequences, each with its pages of keys and values. Calls are submitted in the order
 * they are made and may overlap; errors are the device's own.
 */
export class GpuModel {
  readonly shape: ModelShape
  readonly #gpu: GpuDevice
  readonly #state: GpuState
  readonly #pass: ForwardPass
  readonly #freeSequences: number[]
  readonly #freeSlots: number[]
  readonly #pagesOf = new Map<number, number[]>()
  readonly #greedy = new Set<number>()

  constructor(gpu: GpuDevice, shape: ModelShape, state: GpuState, pass: ForwardPass) {
    this.shape = shape
    this.#gpu = gpu
    this.#state = state
    this.#pass = pass
    this.#freeSequences = Array.from(
      { length: state.sizes.sequences },
      (_, i) => state.sizes.sequences - 1 - i,
    )
    const slots = slotsOf(state.sizes)
    this.#freeSlots = Array.from({ length: slots }, (_, i) => slots - 1 - i)
  }

  /** Dispatches of one greedy decode step. */
  get dispatchesPerToken(): number {
    const { embed, layers, head } = this.#pass
    return (
      embed.length + head.length + layers.reduce((sum, { rows, rest }) => sum + rows.length + rest.length, 0)
    )
  }

  /** Positions that one sequence can have when it is alone. */
  get capacity(): number {
    return Math.min(slotsOf(this.#state.sizes), tablePages(this.shape)) * PAGE_ROWS
  }

  /** A sequence with room for `positions`, or undefined while the others hold the memory; `tokens` are its prompt. */
  openSequence(
    positions: number,
    sampler: SamplerSettings,
    noise: NoiseKey,
    prompt: readonly number[],
  ): number | undefined {
    const needed = Math.ceil(positions / PAGE_ROWS)
    if (needed > this.#freeSlots.length || positions > this.capacity) return undefined
    const sequence = this.#freeSequences.pop()
    if (sequence === undefined) return undefined
    const slots = this.#freeSlots.splice(this.#freeSlots.length - needed, needed)
    this.#pagesOf.set(sequence, slots)
    if (sampler.temperature === 0) this.#greedy.add(sequence)
    else this.#greedy.delete(sequence)
    const { pageTable, samplers, history } = this.#state
    this.#gpu.write(pageTable, sequence * tablePages(this.shape) * 4, Uint32Array.from(slots))
    this.#gpu.write(samplers, sequence * SAMPLER_WORDS * 4, packSampler(sampler, noise))
    const window = new Uint32Array(MAX_PENALTY_WINDOW)
    for (let i = Math.max(0, prompt.length - MAX_PENALTY_WINDOW); i < prompt.length; i++) {
      window[i % MAX_PENALTY_WINDOW] = prompt[i] ?? 0
    }
    this.#gpu.write(history, sequence * MAX_PENALTY_WINDOW * 4, window)
    return sequence
  }

  closeSequence(sequence: number): void {
    const slots = this.#pagesOf.get(sequence)
    if (slots === undefined) return
    this.#pagesOf.delete(sequence)
    this.#freeSlots.push(...slots)
    this.#freeSequences.push(sequence)
  }

  /** Columns of the next prefill batch that starts at `position`. */
  prefillBatch(position: number, remaining: number): number {
    const wanted = Math.min(remaining, this.#state.sizes.columns)
    const pages = Math.floor((position + wanted - 1) / PAGE_ROWS) + 1
    return Math.max(1, Math.min(wanted, Math.floor(partialPages(this.shape, this.#state) / pages)))
  }

  /** Feeds tokens at consecutive positions, at most `prefillBatch` of them; nothing is chosen. */
  async prefill(sequence: number, position: number, tokens: readonly number[]): Promise<void> {
    const columns = tokens.map((token, i) => ({ sequence, position: position + i, token }))
    const last = this.#pass.layers.at(-1)
    const dispatches = [
      ...this.#pass.embed,
      ...this.#pass.layers.slice(0, -1).flatMap(({ rows, rest }) => [...rows, ...rest]),
      ...(last?.rows ?? []),
    ]
    await this.#run(columns, dispatches, [])
  }

  /** Runs one position of each sequence to its chosen token. */
  async decode(columns: readonly DecodeColumn[]): Promise<Decoded[]> {
    const { results, x } = this.#state
    const dispatches = [
      ...this.#pass.embed,
      ...this.#pass.layers.flatMap(({ rows, rest }) => [...rows, ...rest]),
      ...this.#pass.head,
      ...(columns.every(({ sequence }) => this.#greedy.has(sequence)) ? [] : this.#pass.sample),
    ]
    const stride = residualStride(this.shape.width) * 4
    const [tokens, residuals] = await this.#run(columns, dispatches, [
      { buffer: results, offset: 0, size: columns.length * 4 },
      { buffer: x, offset: 0, size: columns.length * stride },
    ])
    if (tokens === undefined || residuals === undefined) throw new RangeError('a read-back is missing')
    const view = new DataView(tokens.buffer, tokens.byteOffset)
    return columns.map((_, i) => ({
      token: view.getUint32(i * 4, true),
      xFinal: new Int32Array(residuals.slice(i * stride, i * stride + this.shape.width * 4).buffer),
    }))
  }

  /** Leaf hashes of the sequence's K/V pages in the order of the K/V tree, when positions 0..written-1 count. */
  async pageDigests(sequence: number, written: number): Promise<Uint8Array[]> {
    const pages = Math.ceil(written / PAGE_ROWS)
    if (pages === 0) return []
    const { digests, digestRequests } = this.#state
    const size = pages * this.shape.layers * this.shape.kvHeads * 2 * 32
    const extent = { columns: 1, pages }
    const [bytes] = await this.#gpu.run(
      pass => {
        for (const [layer, buffer] of digestRequests.entries()) {
          this.#gpu.write(buffer, 0, pageDigestRequest(sequence, written, pages, layer))
        }
        encode(pass, this.#pass.pageDigests, extent)
      },
      [{ buffer: digests, offset: 0, size }],
    )
    return Array.from(
      { length: size / 32 },
      (_, i) => bytes?.subarray(i * 32, i * 32 + 32) ?? new Uint8Array(32),
    )
  }

  /** The sequence's K/V pages themselves, in the same order; read 64 positions at a time. */
  async pages(sequence: number, written: number): Promise<Uint8Array[]> {
    const { kvHeads, headSize } = this.shape
    const length = pageWords(headSize) * 4
    const size = 2 * kvHeads * length
    const slots = this.#pagesOf.get(sequence) ?? []
    const pages: Uint8Array[] = []
    for (const [page, slot] of slots.slice(0, Math.ceil(written / PAGE_ROWS)).entries()) {
      const rows = Math.min(PAGE_ROWS, written - page * PAGE_ROWS)
      const reads = this.#state.pages.map(buffer => ({ buffer, offset: slot * size, size }))
      for (const layer of await this.#gpu.run(() => {}, reads)) {
        for (let at = 0; at < size; at += length) pages.push(firstRows(layer.subarray(at, at + length), rows))
      }
    }
    return pages
  }

  #run(columns: readonly DecodeColumn[], dispatches: readonly Dispatch[], reads: readonly ReadBack[]) {
    const words = new Uint32Array(columns.length * 4)
    let pages = 0
    let pagesBefore = 0
    for (const [i, { sequence, position, token }] of columns.entries()) {
      words.set([token === 'chosen' ? TOKEN_CHOSEN : token, position, sequence, pagesBefore], i * 4)
      const own = Math.floor(position / PAGE_ROWS) + 1
      pages = Math.max(pages, own)
      pagesBefore += own
    }
    return this.#gpu.run(pass => {
      this.#gpu.write(this.#state.columns, 0, words)
      encode(pass, dispatches, { columns: columns.length, pages })
    }, reads)
  }
}
