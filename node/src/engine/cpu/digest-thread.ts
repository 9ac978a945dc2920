import { hash } from 'node:crypto'
import { parentPort, workerData } from 'node:worker_threads'
import { PAGE_ROWS } from '@apus/shared/machine/sizes'

export interface DigestSetting {
  readonly memories: readonly WebAssembly.Memory[]
  /** Bytes of a page slot in each memory. */
  readonly slotBytes: readonly number[]
  readonly headSize: number
  /** What a leaf's hash covers before the page itself. */
  readonly prefix: Uint8Array
}

export interface DigestOrder {
  readonly id: number
  /** The slot's address in each memory. */
  readonly slots: readonly number[]
  readonly rows: number
}

const { memories, slotBytes, headSize, prefix } = workerData as DigestSetting
const bytes = PAGE_ROWS * (1 + 2 * headSize)
const leaf = new Uint8Array(prefix.length + bytes)
leaf.set(prefix)
const page = leaf.subarray(prefix.length)

parentPort?.on('message', ({ id, slots, rows }: DigestOrder) => {
  const digests = new Uint8Array((slotBytes.reduce((sum, b) => sum + b, 0) / bytes) * 32)
  let at = 0
  for (const [i, slot] of slots.entries()) {
    const all = new Uint8Array((memories[i] as WebAssembly.Memory).buffer, slot, slotBytes[i])
    for (let from = 0; from < all.length; from += bytes, at += 32) {
      page.set(all.subarray(from, from + bytes))
      page.fill(0, rows, PAGE_ROWS)
      page.fill(0, PAGE_ROWS + rows * headSize * 2)
      digests.set(hash('sha256', leaf, 'buffer'), at)
    }
  }
  parentPort?.postMessage({ id, digests }, [digests.buffer])
})
