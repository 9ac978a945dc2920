import type { Connection, DialProtocolOptions, Libp2p, PeerId, Stream } from '@libp2p/interface'
import { peerIdFromPublicKey, peerIdFromString } from '@libp2p/peer-id'
import { PeerRecord, RecordEnvelope } from '@libp2p/peer-record'
import { lpStream } from '@libp2p/utils'
import type { Multiaddr } from '@multiformats/multiaddr'
import { z } from 'zod'
import { decodeCanonical, encodeCanonical } from '../hashing/canonical.ts'
import { describeError } from '../kit/errors.ts'
import type { Logger } from '../kit/logger.ts'
import { sleep } from '../kit/time.ts'
import type { ProcessId } from '../protocol/identity.ts'

/** Neighbours asked at once, those that this node dialled first: bootstrap peers are among them. */
const MAX_ASKED = 8
/** A neighbour that is not connected to the wanted peer asks its own neighbours. */
const MAX_HOPS = 1
/** Patience with a neighbour for each step that the question may travel. */
const PATIENCE_PER_STEP_MS = 1_000
/** Pauses between rounds of asking: who has just joined is known to its bootstrap peer a moment later. */
const PAUSES_MS = [0, 250, 500, 1_000]
/** The whole search, within a request's patience also when neighbours are silent. */
const SEARCH_PATIENCE_MS = 4_000
/** Questions of others that this node passes on at the same time; further ones it answers from what it knows. */
const MAX_PASSED_ON = 16
/** Identify carries no longer records either. */
const MAX_RECORD_BYTES = 8 * 1024
const MAX_QUESTION_BYTES = 256

const question = z.strictObject({ peer: z.string().max(128), hops: z.int().min(0).max(MAX_HOPS) })
const answer = z.strictObject({
  record: z.custom<Uint8Array>(v => v instanceof Uint8Array && v.length <= MAX_RECORD_BYTES).optional(),
})

export type OpenOptions = DialProtocolOptions & { readonly signal: AbortSignal }

/** Where a peer is, in its own signed words. */
interface Whereabouts {
  readonly record: Uint8Array
  readonly seq: bigint
  readonly addresses: readonly Multiaddr[]
}

/**
 * Reaches peers whose address this node does not know or that have moved: their neighbours pass on the address record
 * that each peer signs when it connects, so nobody can send a caller elsewhere.
 */
export class PeerFinder {
  readonly #libp2p: Libp2p
  readonly #log: Logger
  readonly #protocol: string
  #passedOn = 0

  constructor(libp2p: Libp2p, network: ProcessId, log: Logger) {
    this.#libp2p = libp2p
    this.#log = log
    this.#protocol = `/apus/1/${network}/peers`
  }

  /** Answers other peers' questions; to be called before the host starts, so that the first peers know of it. */
  serve(): Promise<void> {
    return this.#libp2p.handle(
      this.#protocol,
      (stream, connection) => this.#answer(stream, connection.remotePeer),
      { runOnLimitedConnection: true },
    )
  }

  /** Opens a stream to a peer by its id. Errors: those of libp2p's `dialProtocol`. */
  async open(peer: string, protocol: string, options: OpenOptions): Promise<Stream> {
    const id = peerIdFromString(peer)
    const dial = (to: PeerId | Multiaddr[]) => this.#libp2p.dialProtocol(to, protocol, options)
    try {
      return await dial(id)
    } catch (error) {
      return await this.#search(id, dial, options.signal, error)
    }
  }

  async #search(
    wanted: PeerId,
    dial: (addresses: Multiaddr[]) => Promise<Stream>,
    given: AbortSignal,
    first: unknown,
  ): Promise<Stream> {
    const signal = AbortSignal.any([given, AbortSignal.timeout(SEARCH_PATIENCE_MS)])
    let error = first
    for (const pause of PAUSES_MS) {
      // Who is connected and still refuses the stream does not speak the protocol.
      if (signal.aborted || this.#libp2p.getConnections(wanted).length > 0) break
      await sleep(pause)
      const found = await this.#ask(wanted, MAX_HOPS, signal)
      if (found === undefined || found.addresses.length === 0) continue
      try {
        return await dial(found.addresses.map(a => a.encapsulate(`/p2p/${wanted}`)))
      } catch (cause) {
        error = cause
      }
    }
    throw error
  }

  // All answers are waited for: whoever answers first may tell an old record.
  async #ask(
    wanted: PeerId,
    hops: number,
    given: AbortSignal,
    asker?: PeerId,
  ): Promise<Whereabouts | undefined> {
    const asked = this.#neighbours()
      .filter(c => !c.remotePeer.equals(wanted) && !asker?.equals(c.remotePeer))
      .slice(0, MAX_ASKED)
    const signal = AbortSignal.any([given, AbortSignal.timeout((hops + 1) * PATIENCE_PER_STEP_MS)])
    const told = await Promise.all(asked.map(c => this.#askOne(c, wanted, hops, signal)))
    return told.reduce((newest, next) => (next && (newest?.seq ?? -1n) < next.seq ? next : newest), undefined)
  }

  #neighbours(): Connection[] {
    const one = new Map(this.#libp2p.getConnections().map(c => [c.remotePeer.toString(), c]))
    return [...one.values()].sort(
      (a, b) => Number(b.direction === 'outbound') - Number(a.direction === 'outbound'),
    )
  }

  async #askOne(
    connection: Connection,
    wanted: PeerId,
    hops: number,
    signal: AbortSignal,
  ): Promise<Whereabouts | undefined> {
    let stream: Stream | undefined
    try {
      stream = await connection.newStream(this.#protocol, { signal, runOnLimitedConnection: true })
      const lp = lpStream(stream, { maxDataLength: MAX_RECORD_BYTES + MAX_QUESTION_BYTES })
      await lp.write(encodeCanonical({ peer: wanted.toString(), hops }), { signal })
      const { record } = answer.parse(decodeCanonical((await lp.read({ signal })).subarray()))
      await stream.close({ signal })
      return record && (await openRecord(record, wanted))
    } catch (error) {
      stream?.abort(error instanceof Error ? error : new Error(String(error)))
      this.#log.debug(
        { peer: connection.remotePeer.toString(), reason: describeError(error) },
        'A neighbour did not give the address of a peer.',
      )
      return undefined
    }
  }

  async #answer(stream: Stream, asker: PeerId): Promise<void> {
    const signal = AbortSignal.timeout((MAX_HOPS + 1) * PATIENCE_PER_STEP_MS)
    try {
      const lp = lpStream(stream, { maxDataLength: MAX_QUESTION_BYTES })
      const { peer, hops } = question.parse(decodeCanonical((await lp.read({ signal })).subarray()))
      const record = await this.#recordOf(peerIdFromString(peer), hops, signal, asker)
      await lp.write(encodeCanonical(record === undefined ? {} : { record }), { signal })
      await stream.close({ signal })
    } catch (error) {
      stream.abort(error instanceof Error ? error : new Error(String(error)))
    }
  }

  // Told is only where connected peers are, so what is passed around does not outlive them.
  async #recordOf(
    wanted: PeerId,
    hops: number,
    signal: AbortSignal,
    asker: PeerId,
  ): Promise<Uint8Array | undefined> {
    if (this.#libp2p.getConnections(wanted).length > 0) {
      const { peerRecordEnvelope, protocols } = await this.#libp2p.peerStore.get(wanted)
      return protocols.includes(this.#protocol) ? peerRecordEnvelope : undefined
    }
    if (hops === 0 || this.#passedOn >= MAX_PASSED_ON) return undefined
    this.#passedOn++
    try {
      return (await this.#ask(wanted, hops - 1, signal, asker))?.record
    } finally {
      this.#passedOn--
    }
  }
}

/** The whereabouts in a record signed by the wanted peer. Errors when it is damaged, forged or of another peer. */
async function openRecord(record: Uint8Array, wanted: PeerId): Promise<Whereabouts> {
  const envelope = await RecordEnvelope.openAndCertify(record, PeerRecord.DOMAIN)
  const { peerId, seqNumber, multiaddrs } = PeerRecord.createFromProtobuf(envelope.payload)
  if (!peerIdFromPublicKey(envelope.publicKey).equals(wanted) || !peerId.equals(wanted))
    throw new Error('the record is of another peer')
  return { record, seq: seqNumber, addresses: multiaddrs }
}
