import { describeError } from '../kit/errors.ts'
import type { Logger } from '../kit/logger.ts'
import { Loop } from '../kit/loop.ts'
import { type Clock, systemClock } from '../kit/time.ts'
import { SCORE_THRESHOLDS } from './gossip-settings.ts'

const CHECK_INTERVAL_MS = 2_000
/** Identify and the first subscription take well under a second; a peer that is deaf for longer lost its stream. */
const DEAF_GRACE_MS = 10_000
/** Redials of a lost peer double from the first pause to the longest. */
const FIRST_REDIAL_MS = 1_000
const LONGEST_REDIAL_MS = 60_000
const REFUSAL_MS = 10 * 60_000

/** What the keeper needs of a libp2p host. */
export interface Links {
  connected(): string[]
  talksGossip(peer: string): Promise<boolean>
  /** True while the peer listens to our topic and a stream to it is open. */
  hears(peer: string): boolean
  score(peer: string): number
  hangUp(peer: string): Promise<void>
  dial(address: string): Promise<void>
  /** Dials a peer at the addresses it was seen at. */
  dialAgain(peer: string): Promise<void>
  setRefused(peer: string, refused: boolean): void
}

interface Kept {
  readonly address: string
  pauseMs: number
  nextDial: number
}

/**
 * Keeps links useful. Gossipsub never reopens a stream it gave up on a live connection, libp2p gives up redialling after
 * a few tries, and a peer far below the score threshold keeps its connection; this loop mends all three.
 */
export class LinkKeeper {
  readonly #links: Links
  readonly #log: Logger
  readonly #clock: Clock
  readonly #kept = new Map<string, Kept>()
  readonly #deafSince = new Map<string, number>()
  /** Connected peers that did hear us: only these are worth dialling anew, not strangers of another network. */
  readonly #heard = new Set<string>()
  readonly #refusedUntil = new Map<string, number>()
  readonly #loop: Loop

  constructor(links: Links, log: Logger, clock: Clock = systemClock) {
    this.#links = links
    this.#log = log
    this.#clock = clock
    this.#loop = new Loop(
      {
        intervalMs: CHECK_INTERVAL_MS,
        onError: err => this.#log.warn({ err }, 'The check of links failed.'),
      },
      () => this.check(),
    )
  }

  start(): void {
    this.#loop.start()
  }

  stop(): Promise<void> {
    return this.#loop.stop()
  }

  keep(peer: string, address: string): void {
    this.#kept.set(peer, { address, pauseMs: FIRST_REDIAL_MS, nextDial: 0 })
    this.#loop.trigger()
  }

  async refuse(peer: string, code: string): Promise<void> {
    this.#refusedUntil.set(peer, this.#clock.now() + REFUSAL_MS)
    this.#links.setRefused(peer, true)
    this.#log.warn({ peer, code }, 'A peer is refused for ten minutes.')
    await this.#links.hangUp(peer)
  }

  /** One round of checks. */
  async check(): Promise<void> {
    const now = this.#clock.now()
    for (const [peer, until] of this.#refusedUntil) {
      if (until > now) continue
      this.#refusedUntil.delete(peer)
      this.#links.setRefused(peer, false)
    }
    const connected = new Set(this.#links.connected())
    for (const peer of this.#deafSince.keys()) if (!connected.has(peer)) this.#deafSince.delete(peer)
    for (const peer of this.#heard) if (!connected.has(peer)) this.#heard.delete(peer)
    for (const peer of connected) await this.#checkPeer(peer, now)
    await Promise.all([...this.#kept].map(([peer, kept]) => this.#redial(peer, kept, connected, now)))
  }

  async #checkPeer(peer: string, now: number): Promise<void> {
    if (this.#links.score(peer) < SCORE_THRESHOLDS.graylistThreshold) return this.refuse(peer, 'gossip-score')
    if (this.#links.hears(peer)) {
      this.#heard.add(peer)
      this.#deafSince.delete(peer)
      return
    }
    if (!(await this.#links.talksGossip(peer).catch(() => false))) return
    const since = this.#deafSince.get(peer)
    if (since === undefined) this.#deafSince.set(peer, now)
    else if (now - since >= DEAF_GRACE_MS) await this.#beginAnew(peer)
  }

  async #beginAnew(peer: string): Promise<void> {
    this.#deafSince.delete(peer)
    this.#log.info(
      { peer },
      'A peer no longer takes gossip from this node, so the connection is closed and opened again.',
    )
    await this.#links.hangUp(peer)
    if (!this.#heard.has(peer) || this.#kept.has(peer)) return
    await this.#links
      .dialAgain(peer)
      .catch(error =>
        this.#log.debug({ peer, reason: describeError(error) }, 'The peer was not reached again.'),
      )
  }

  async #redial(peer: string, kept: Kept, connected: ReadonlySet<string>, now: number): Promise<void> {
    if (connected.has(peer)) {
      kept.pauseMs = FIRST_REDIAL_MS
      kept.nextDial = 0
      return
    }
    if (this.#refusedUntil.has(peer) || now < kept.nextDial) return
    try {
      await this.#links.dial(kept.address)
    } catch (error) {
      kept.nextDial = now + kept.pauseMs
      kept.pauseMs = Math.min(kept.pauseMs * 2, LONGEST_REDIAL_MS)
      this.#log.debug(
        { peer, reason: describeError(error) },
        'A peer that this node stays connected to was not reached.',
      )
    }
  }
}
