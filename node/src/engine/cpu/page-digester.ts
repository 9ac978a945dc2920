import { Worker } from 'node:worker_threads'
import type { DigestOrder, DigestSetting } from './digest-thread.ts'

const DOMAIN = Buffer.from('apus.machine.1/page')
/** A Merkle leaf of the domain begins so. */
const PREFIX = Uint8Array.of(0, DOMAIN.length, ...DOMAIN)

/** Hashes pages of keys and values beside the computation, in a thread of its own. */
export class PageDigester {
  readonly #worker: Worker
  readonly #waiting = new Map<number, PromiseWithResolvers<Uint8Array>>()
  #next = 0
  #failure: unknown

  constructor(setting: Omit<DigestSetting, 'prefix'>) {
    this.#worker = new Worker(new URL('./digest-thread.ts', import.meta.url), {
      workerData: { ...setting, prefix: PREFIX } satisfies DigestSetting,
    })
    this.#worker.unref()
    this.#worker.on('message', ({ id, digests }: { id: number; digests: Uint8Array }) => {
      this.#waiting.get(id)?.resolve(digests)
      this.#waiting.delete(id)
    })
    this.#worker.on('error', error => this.#fail(error))
    this.#worker.on('exit', () => this.#fail(new Error('the digest thread ended')))
  }

  /** Leaf hashes, 32 bytes each, of one page slot: by layer, key/value head, kind. `rows` of its 64 rows count. */
  digest(slots: readonly number[], rows: number): Promise<Uint8Array> {
    if (this.#failure !== undefined) return Promise.reject(this.#failure)
    const id = this.#next++
    const waiting = Promise.withResolvers<Uint8Array>()
    // Whoever asked last may have gone when the thread ends.
    waiting.promise.catch(() => {})
    this.#waiting.set(id, waiting)
    this.#worker.postMessage({ id, slots, rows } satisfies DigestOrder)
    return waiting.promise
  }

  async close(): Promise<void> {
    await this.#worker.terminate()
  }

  #fail(error: unknown): void {
    this.#failure ??= error
    for (const { reject } of this.#waiting.values()) reject(error)
    this.#waiting.clear()
  }
}
