import type { AoClient } from '@apus/shared/ao'
import { type Clock, describeError, errorCode, type Logger } from '@apus/shared/kit'
import { type ChangeListener, type FeedClient, NetworkFeed, type NetworkMirror } from '@apus/shared/network'
import type { ProcessId } from '@apus/shared/protocol'
import { type ClockSeen, seenClock } from '@apus/shared/rounds'

/** The network process as followed from here, and how well it can be followed. */
export class WatchedFeed {
  readonly #feed: NetworkFeed
  readonly #time: Clock
  /** The network's clock and when it arrived; undefined until the first publication. */
  readonly clock: () => ClockSeen | undefined
  #readAt: number | undefined
  #caughtUp = false
  #stopped = false
  #failures = 0

  constructor(
    ao: FeedClient,
    options: { readonly network: ProcessId; readonly pollMs: number },
    time: Clock,
    log: Logger,
  ) {
    this.#time = time
    const results: AoClient['results'] = async (process, page) => {
      const read = await ao.results(process, page)
      if (this.#failures > 0) log.info('The network process answers again.')
      this.#failures = 0
      if (!read.more) this.#readAt = time.now()
      return read
    }
    this.#feed = new NetworkFeed(
      { results, snapshot: async (process, keys) => ao.snapshot?.(process, keys) },
      {
        ...options,
        onError: error => {
          this.#failures += 1
          const fields = { code: errorCode(error), reason: describeError(error) }
          if (this.#failures === 1)
            log.warn(fields, 'The network process could not be read; trying until it can.')
          else log.debug(fields, 'The network process still cannot be read.')
        },
      },
    )
    this.clock = seenClock(this.#feed, time)
  }

  get mirror(): NetworkMirror {
    return this.#feed.mirror
  }

  get caughtUp(): boolean {
    return this.#caughtUp
  }

  /** Time since everything there was had been read (ms). */
  get lagMs(): number | undefined {
    return this.#readAt === undefined ? undefined : this.#time.now() - this.#readAt
  }

  /** Begins to read; `onCaughtUp` is called once when everything there was has been read. */
  start(onCaughtUp: () => void): void {
    void this.#feed.start().then(() => {
      if (this.#stopped) return
      this.#caughtUp = true
      onCaughtUp()
    })
  }

  /** Reads at once: something is known to have happened. */
  poke(): void {
    this.#feed.poke()
  }

  onChange(listener: ChangeListener): void {
    this.#feed.onChange(listener)
  }

  async stop(): Promise<void> {
    this.#stopped = true
    await this.#feed.stop()
  }
}
