import type { AoClient, AoEmittedMessage } from '../ao/ao-client.ts'
import { Loop } from '../kit/loop.ts'
import type { ProcessId } from '../protocol/identity.ts'
import { type Change, MIRRORED, NetworkMirror } from './network-mirror.ts'

export interface NetworkFeedOptions {
  readonly network: ProcessId
  /** Pause between looks when there was nothing new, in ms. */
  readonly pollMs: number
  /** Told of every failed look; the feed goes on. */
  readonly onError: (error: unknown) => void
  /** Reads every result from the first; otherwise what is published now, where a node serves it. */
  readonly history?: boolean
}

/** What a feed reads with; without `snapshot` it reads every result. */
export type FeedClient = Pick<AoClient, 'results'> & Partial<Pick<AoClient, 'snapshot'>>

export type ChangeListener = (change: Change) => void
export type MessageListener = (message: AoEmittedMessage) => void

/** Follows the results of the network process and keeps a mirror of what it published. */
export class NetworkFeed {
  readonly mirror = new NetworkMirror()
  readonly #client: FeedClient
  readonly #options: NetworkFeedOptions
  readonly #listeners = new Set<ChangeListener>()
  readonly #messageListeners = new Set<MessageListener>()
  readonly #loop: Loop
  readonly #caughtUp = Promise.withResolvers<void>()
  #cursor: string | undefined

  constructor(client: FeedClient, options: NetworkFeedOptions) {
    this.#client = client
    this.#options = options
    this.#loop = new Loop({ intervalMs: options.pollMs, onError: options.onError }, signal =>
      this.#look(signal),
    )
  }

  /** Resolves once everything that was there has been read. */
  async start(): Promise<void> {
    this.#loop.start()
    await this.#caughtUp.promise
  }

  /** Looks at once: something is known to have happened. */
  poke(): void {
    this.#loop.trigger()
  }

  /** Told of every change, in order; returns the way to unsubscribe. */
  onChange(listener: ChangeListener): () => void {
    this.#listeners.add(listener)
    return () => this.#listeners.delete(listener)
  }

  /** Told of every message that the process emits, in order. */
  onMessage(listener: MessageListener): () => void {
    this.#messageListeners.add(listener)
    return () => this.#messageListeners.delete(listener)
  }

  async stop(): Promise<void> {
    this.#caughtUp.resolve()
    await this.#loop.stop()
  }

  async #look(signal: AbortSignal): Promise<void> {
    if (this.#cursor === undefined && !this.#options.history) await this.#begin()
    for (let more = true; more && !signal.aborted; ) {
      const page = await this.#client.results(this.#options.network, { after: this.#cursor })
      for (const { cursor, result } of page.edges) {
        this.#take(result.messages)
        this.#cursor = cursor
      }
      more = page.more
    }
    this.#caughtUp.resolve()
  }

  /** Results after the cursor may be part of the state already: each sets whole values, so the last one stays. */
  async #begin(): Promise<void> {
    const snapshot = await this.#client.snapshot?.(this.#options.network, MIRRORED)
    if (!snapshot) return
    const published = Object.entries(snapshot.state).map(([name, value]) => ({ name, value }))
    this.#take([{ Tags: [{ name: 'device', value: 'patch@1.0' }, ...published] }])
    this.#cursor = snapshot.cursor
  }

  #take(messages: readonly AoEmittedMessage[]): void {
    for (const change of this.mirror.apply(messages)) {
      for (const listener of this.#listeners) this.#tell(() => listener(change))
    }
    for (const message of messages) {
      for (const listener of this.#messageListeners) this.#tell(() => listener(message))
    }
  }

  // A listener that throws must not stop the others, nor make the feed read the same result again.
  #tell(listener: () => void): void {
    try {
      listener()
    } catch (error) {
      this.#options.onError(error)
    }
  }
}
