import type { AoClient, AoEmittedMessage } from '../ao/ao-client.ts'
import { Loop } from '../kit/loop.ts'
import type { ProcessId } from '../protocol/identity.ts'
import { type Change, NetworkMirror } from './network-mirror.ts'

export interface NetworkFeedOptions {
  readonly network: ProcessId
  /** Pause between looks when there was nothing new, in ms. */
  readonly pollMs: number
  /** Told of every failed look; the feed goes on. */
  readonly onError: (error: unknown) => void
}

export type ChangeListener = (change: Change) => void
export type MessageListener = (message: AoEmittedMessage) => void

/** Follows the results of the network process from its first one and keeps a mirror of what it published. */
export class NetworkFeed {
  readonly mirror = new NetworkMirror()
  readonly #client: Pick<AoClient, 'results'>
  readonly #options: NetworkFeedOptions
  readonly #listeners = new Set<ChangeListener>()
  readonly #messageListeners = new Set<MessageListener>()
  readonly #loop: Loop
  readonly #caughtUp = Promise.withResolvers<void>()
  #cursor: string | undefined

  constructor(client: Pick<AoClient, 'results'>, options: NetworkFeedOptions) {
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
