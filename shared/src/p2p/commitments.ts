import { randomUUID } from 'node:crypto'
import { TopicValidatorResult } from '@chainsafe/libp2p-gossipsub'
import type { PeerId } from '@libp2p/interface'
import type { z } from 'zod'
import { describeError, errorCode } from '../kit/errors.ts'
import { Loop } from '../kit/loop.ts'
import { type Clock, systemClock } from '../kit/time.ts'
import type { Address, JobId } from '../protocol/identity.ts'
import { encodeCommitment, type SignedCommitment } from '../protocol/signed-commitment.ts'
import { CommitmentBook, statementId } from './commitment-book.ts'
import { type CommitmentFacts, judgeCommitment } from './commitment-judge.ts'
import type { Host } from './host.ts'
import { MAX_FETCHED_STATEMENTS, MAX_LISTED_STATEMENTS, syncProtocol } from './protocols.ts'
import type { Requests } from './requests.ts'

const SYNC_INTERVAL_MS = 15_000
/** Peers asked in each interval, in turn. */
const PEERS_PER_ROUND = 3
/** Statements of miners not known here yet, kept until the node has caught up. */
const MAX_WAITING = 1024
/** A miner may speak of seats that this node has not heard of yet, but not without end. */
const UNSEATED_BURST = 32
const UNSEATED_REFILL_MS = 1_000

export interface CommitmentsOptions {
  readonly host: Host
  readonly requests: Requests
  readonly facts: Omit<CommitmentFacts, 'network'>
  readonly clock?: Clock
}

type SyncRequest = z.input<typeof syncProtocol.request>

interface Known {
  readonly book: string
  readonly place: number
}

interface Allowance {
  left: number
  at: number
}

/** The signed commitments of the network as this node sees them: gossiped, synced, judged and kept. */
export class Commitments {
  readonly book = new CommitmentBook()
  readonly #host: Host
  readonly #requests: Requests
  readonly #facts: CommitmentFacts
  readonly #clock: Clock
  readonly #bookId = randomUUID()
  readonly #waiting = new Map<string, Uint8Array>()
  readonly #allowances = new Map<Address, Allowance>()
  readonly #places = new Map<string, Known>()
  readonly #listeners = new Set<(signed: SignedCommitment) => void>()
  readonly #loop: Loop
  #turn = 0

  constructor({ host, requests, facts, clock = systemClock }: CommitmentsOptions) {
    this.#host = host
    this.#requests = requests
    this.#facts = {
      network: host.network,
      registration: miner => facts.registration(miner),
      seated: (job, miner) => facts.seated(job, miner),
    }
    this.#clock = clock
    this.#loop = new Loop(
      {
        intervalMs: SYNC_INTERVAL_MS,
        onError: err => host.log.warn({ err }, 'Syncing commitments failed.'),
      },
      signal => this.#round(signal),
    )
  }

  async start(): Promise<void> {
    const { pubsub } = this.#host.libp2p.services
    pubsub.topicValidators.set(this.#host.topic, (peer, message) => this.#onGossip(peer, message.data))
    await this.#requests.serve(syncProtocol, request => {
      if (request.network !== this.#host.network) return { statements: [] }
      switch (request.ask) {
        case 'since': {
          // A book of another life has other places: start over.
          const place = request.book === this.#bookId ? request.place : 0
          const listing = this.book.since(place, MAX_LISTED_STATEMENTS)
          return { book: this.#bookId, ...listing, ids: [...listing.ids] }
        }
        case 'statements':
          return { statements: request.ids.flatMap(id => this.book.get(id)?.bytes ?? []) }
        case 'job':
          return {
            statements: this.book
              .entriesOf(request.job)
              .slice(0, MAX_FETCHED_STATEMENTS)
              .map(e => e.bytes),
          }
      }
    })
    this.#host.libp2p.addEventListener('peer:identify', this.#onIdentify)
    this.#loop.start()
  }

  async stop(): Promise<void> {
    this.#host.libp2p.removeEventListener('peer:identify', this.#onIdentify)
    this.#host.libp2p.services.pubsub.topicValidators.delete(this.#host.topic)
    await this.#loop.stop()
  }

  /** Told once of every statement that is new here. Returns the way to stop it. */
  onNew(listener: (signed: SignedCommitment) => void): () => void {
    this.#listeners.add(listener)
    return () => this.#listeners.delete(listener)
  }

  ofJob(job: JobId): SignedCommitment[] {
    return this.book.ofJob(job)
  }

  /** Forgets a job that has ended. */
  forget(job: JobId): void {
    this.book.forget(job)
  }

  /** Keeps and gossips one's own statement; returns how many peers it was sent to (0 is no fault: sync follows). */
  async publish(signed: SignedCommitment): Promise<number> {
    const bytes = encodeCommitment(signed)
    if (this.book.add(signed) === 'added') this.#tell(signed)
    this.#passOn(bytes)
    const { recipients } = await this.#host.libp2p.services.pubsub.publish(this.#host.topic, bytes)
    return recipients.length
  }

  /** Judges anew the statements that waited for their miner to become known. */
  recheck(): void {
    for (const [key, bytes] of [...this.#waiting]) {
      const judgement = judgeCommitment(bytes, this.#facts)
      if (judgement.verdict === 'wait') continue
      this.#waiting.delete(key)
      if (judgement.verdict === 'accept') this.#keep(judgement.signed, judgement.seated)
    }
  }

  /** Fetches from a peer what is new in its book; returns how many statements were new here. */
  async syncWith(peer: string, signal?: AbortSignal): Promise<number> {
    let added = 0
    for (;;) {
      const known = this.#places.get(peer) ?? { book: '', place: 0 }
      const listing = await this.#ask(peer, { ask: 'since', network: this.#host.network, ...known }, signal)
      if (!('ids' in listing)) return added
      const missing = listing.ids.filter(id => !this.book.get(id) && !this.#waiting.has(hex(id)))
      for (let i = 0; i < missing.length; i += MAX_FETCHED_STATEMENTS) {
        const ids = missing.slice(i, i + MAX_FETCHED_STATEMENTS)
        added += await this.#fetch(peer, { ask: 'statements', network: this.#host.network, ids }, signal)
      }
      this.#places.set(peer, { book: listing.book, place: listing.place })
      // A book that says `more` without going on would hold us here for ever.
      if (!listing.more || listing.place <= known.place) return added
    }
  }

  /** Fetches one job's statements from peers, those connected by default; returns how many were new here. */
  async syncJob(job: JobId, peers: readonly string[] = this.#host.subscribers()): Promise<number> {
    const counts = await Promise.allSettled(
      peers.map(peer => this.#fetch(peer, { ask: 'job', network: this.#host.network, job })),
    )
    return counts.reduce((sum, c) => sum + (c.status === 'fulfilled' ? c.value : 0), 0)
  }

  readonly #onIdentify = (event: CustomEvent<{ peerId: PeerId; protocols: string[] }>): void => {
    if (!event.detail.protocols.includes(syncProtocol.id)) return
    void this.#trySync(event.detail.peerId.toString())
  }

  async #round(signal: AbortSignal): Promise<void> {
    this.recheck()
    const peers = this.#host.subscribers()
    const connected = new Set(this.#host.peers())
    for (const peer of this.#places.keys()) if (!connected.has(peer)) this.#places.delete(peer)
    const chosen = Math.min(PEERS_PER_ROUND, peers.length)
    for (let i = 0; i < chosen; i++) await this.#trySync(peers[this.#turn++ % peers.length] as string, signal)
  }

  async #trySync(peer: string, signal?: AbortSignal): Promise<void> {
    try {
      await this.syncWith(peer, signal)
    } catch (error) {
      this.#host.log.debug(
        { peer, reason: describeError(error) },
        'The commitments of a peer could not be fetched.',
      )
    }
  }

  #ask(peer: string, request: SyncRequest, signal?: AbortSignal) {
    return this.#requests.request(peer, syncProtocol, request, signal === undefined ? {} : { signal })
  }

  async #fetch(peer: string, request: SyncRequest, signal?: AbortSignal): Promise<number> {
    const answer = await this.#ask(peer, request, signal)
    if (!('statements' in answer)) return 0
    let added = 0
    for (const bytes of answer.statements) {
      const judgement = judgeCommitment(bytes, this.#facts)
      if (judgement.verdict === 'accept') {
        if (this.#keep(judgement.signed, judgement.seated) === 'added') added++
      } else if (judgement.verdict === 'wait') this.#wait(bytes)
      else if (judgement.forged) {
        await this.#host.refuse(peer, judgement.code)
        break
      }
    }
    return added
  }

  #onGossip(peer: PeerId, bytes: Uint8Array): TopicValidatorResult {
    const judgement = judgeCommitment(bytes, this.#facts)
    if (judgement.verdict === 'reject') {
      this.#host.log.debug(
        { peer: peer.toString(), code: judgement.code },
        'A gossiped commitment was refused.',
      )
      return TopicValidatorResult.Reject
    }
    if (judgement.verdict === 'wait') {
      this.#wait(bytes)
      return TopicValidatorResult.Ignore
    }
    const kept = this.#keep(judgement.signed, judgement.seated)
    return kept !== 'full' && this.#passOn(bytes) ? TopicValidatorResult.Accept : TopicValidatorResult.Ignore
  }

  // Gossip passes on what it sees for the first time, also when sync was faster; a repetition ends here.
  #passOn(bytes: Uint8Array): boolean {
    const entry = this.book.get(statementId(bytes))
    if (entry === undefined || entry.gossiped) return false
    entry.gossiped = true
    return true
  }

  #keep(signed: SignedCommitment, seated: boolean): 'added' | 'known' | 'full' {
    const known = this.book.get(statementId(encodeCommitment(signed))) !== undefined
    if (!known && !seated && !this.#allow(signed.miner)) return 'full'
    const kept = this.book.add(signed)
    if (kept === 'added') this.#tell(signed)
    return kept
  }

  #tell(signed: SignedCommitment): void {
    for (const listener of this.#listeners) {
      try {
        listener(signed)
      } catch (err) {
        this.#host.log.error({ err, code: errorCode(err) }, 'A listener to commitments failed.')
      }
    }
  }

  #wait(bytes: Uint8Array): void {
    this.#waiting.set(hex(statementId(bytes)), bytes)
    if (this.#waiting.size > MAX_WAITING) this.#waiting.delete(this.#waiting.keys().next().value ?? '')
  }

  #allow(miner: Address): boolean {
    const now = this.#clock.now()
    const allowance = this.#allowances.get(miner) ?? { left: UNSEATED_BURST, at: now }
    const earned = Math.floor((now - allowance.at) / UNSEATED_REFILL_MS)
    allowance.left = Math.min(UNSEATED_BURST, allowance.left + earned)
    allowance.at += earned * UNSEATED_REFILL_MS
    this.#allowances.set(miner, allowance)
    if (allowance.left === 0) return false
    allowance.left--
    return true
  }
}

const hex = (id: Uint8Array): string => Buffer.from(id).toString('hex')
