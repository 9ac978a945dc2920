import type { Stream } from '@libp2p/interface'
import { lpStream } from '@libp2p/utils'
import { z } from 'zod'
import { decodeCanonical, encodeCanonical } from '../hashing/canonical.ts'
import { ApusError, describeError } from '../kit/errors.ts'
import { raceAbort } from '../kit/race-abort.ts'
import type { Host } from './host.ts'

/** Streams one peer may hold open to one protocol: one in use and a few being replaced. */
const MAX_STREAMS_PER_PEER = 4
/** Requests of one stream answered at the same time; further ones wait unread. */
const MAX_HANDLED_AT_ONCE = 16
/** Requests to one peer and protocol without an answer yet; further ones are refused here. */
const MAX_IN_FLIGHT = 64
const DEFAULT_TIMEOUT_MS = 10_000
/** How long an answer may wait for a peer that does not read. */
const WRITE_TIMEOUT_MS = 30_000
/** The id and the map around a body. */
const FRAME_OVERHEAD_BYTES = 64
/** An error sentence longer than this is cut. */
const MAX_ERROR_TEXT = 300

/** What two peers say to each other under one libp2p protocol id. Bodies travel as canonical DAG-CBOR. */
export interface RequestProtocol<Q extends z.ZodType, A extends z.ZodType> {
  readonly id: string
  readonly request: Q
  readonly response: A
  readonly maxRequestBytes: number
  readonly maxResponseBytes: number
}

export interface Caller {
  readonly peer: string
  /** Fires when the caller's stream is gone. */
  readonly signal: AbortSignal
}

export interface RequestOptions {
  readonly timeoutMs?: number
  readonly signal?: AbortSignal
}

const requestFrame = z.strictObject({ i: z.int().min(0), b: z.unknown() })
const answerFrame = z.union([
  z.strictObject({ i: z.int(), b: z.unknown() }),
  z.strictObject({ i: z.int(), e: z.strictObject({ c: z.string().max(64), m: z.string(), r: z.boolean() }) }),
])

/** Requests and answers over one long-lived stream per peer and protocol. */
export class Requests {
  readonly #host: Host
  readonly #lines = new Map<string, Promise<Line>>()
  readonly #served = new Set<string>()

  constructor(host: Host) {
    this.#host = host
  }

  /** Answers a protocol. What the handler throws as ApusError travels to the caller; anything else says `internal`. */
  async serve<Q extends z.ZodType, A extends z.ZodType>(
    protocol: RequestProtocol<Q, A>,
    handler: (body: z.output<Q>, caller: Caller) => Promise<z.input<A>> | z.input<A>,
  ): Promise<void> {
    this.#served.add(protocol.id)
    const onStream = (stream: Stream, { remotePeer }: { remotePeer: { toString(): string } }) =>
      this.#answer(stream, remotePeer.toString(), protocol, handler)
    await this.#host.libp2p.handle(protocol.id, onStream, {
      maxInboundStreams: MAX_STREAMS_PER_PEER,
      maxOutboundStreams: MAX_STREAMS_PER_PEER,
      runOnLimitedConnection: true,
    })
  }

  /**
   * Asks a peer and waits for the answer. Errors: the code the peer answered with, or `request-invalid`,
   * `request-too-large`, `peer-unreachable`, `peer-busy`, `peer-disconnected`, `peer-timeout`, `answer-invalid`.
   */
  async request<Q extends z.ZodType, A extends z.ZodType>(
    peer: string,
    protocol: RequestProtocol<Q, A>,
    body: z.input<Q>,
    options: RequestOptions = {},
  ): Promise<z.output<A>> {
    options.signal?.throwIfAborted()
    const bytes = encodeBody(body)
    if (bytes.length > protocol.maxRequestBytes)
      throw new ApusError(
        'request-too-large',
        `The request is larger than ${protocol.maxRequestBytes} bytes.`,
      )
    const timeoutMs = options.timeoutMs ?? DEFAULT_TIMEOUT_MS
    const timeout = AbortSignal.timeout(timeoutMs)
    const signal = options.signal === undefined ? timeout : AbortSignal.any([timeout, options.signal])
    try {
      const line = await this.#line(peer, protocol, signal)
      const answer = protocol.response.safeParse(await line.ask(body, signal))
      if (answer.success) return answer.data
      throw new ApusError('answer-invalid', 'The peer answered with something else than was asked for.', {
        blame: 'peer',
        cause: answer.error,
      })
    } catch (error) {
      options.signal?.throwIfAborted()
      if (!timeout.aborted || (error instanceof ApusError && error.code !== 'peer-disconnected')) throw error
      throw new ApusError('peer-timeout', `The peer did not answer within ${timeoutMs} ms.`, {
        retry: true,
        blame: 'peer',
        cause: error,
      })
    }
  }

  async stop(): Promise<void> {
    await Promise.all([...this.#served].map(id => this.#host.libp2p.unhandle(id)))
    const lines = [...this.#lines.values()]
    this.#lines.clear()
    for (const line of lines) void line.then(l => l.close()).catch(() => {})
  }

  async #line(
    peer: string,
    protocol: RequestProtocol<z.ZodType, z.ZodType>,
    signal: AbortSignal,
  ): Promise<Line> {
    const key = `${peer} ${protocol.id}`
    const known = this.#lines.get(key)
    if (known !== undefined) {
      const line = await raceAbort(known, signal)
      if (line.open) return line
    }
    if (this.#lines.get(key) === known) {
      const opening = this.#open(peer, protocol, () => {
        if (this.#lines.get(key) === opening) this.#lines.delete(key)
      })
      opening.catch(() => {
        if (this.#lines.get(key) === opening) this.#lines.delete(key)
      })
      this.#lines.set(key, opening)
    }
    return raceAbort(this.#lines.get(key) as Promise<Line>, signal)
  }

  // Opening is shared by all who wait for the line, so it has its own patience and not that of the first caller.
  async #open(
    peer: string,
    protocol: RequestProtocol<z.ZodType, z.ZodType>,
    onClosed: () => void,
  ): Promise<Line> {
    try {
      const stream = await this.#host.open(peer, protocol.id, {
        signal: AbortSignal.timeout(DEFAULT_TIMEOUT_MS),
        runOnLimitedConnection: true,
        maxOutboundStreams: MAX_STREAMS_PER_PEER,
      })
      return new Line(stream, protocol, onClosed)
    } catch (cause) {
      throw new ApusError('peer-unreachable', 'The peer cannot be reached or does not speak this protocol.', {
        retry: true,
        blame: 'nobody',
        cause,
      })
    }
  }

  async #answer<Q extends z.ZodType, A extends z.ZodType>(
    stream: Stream,
    peer: string,
    protocol: RequestProtocol<Q, A>,
    handler: (body: z.output<Q>, caller: Caller) => Promise<z.input<A>> | z.input<A>,
  ): Promise<void> {
    const gone = new AbortController()
    stream.addEventListener('close', () => gone.abort(), { once: true })
    const lp = lpStream(stream, {
      maxDataLength: protocol.maxRequestBytes + FRAME_OVERHEAD_BYTES,
      maxBufferSize: MAX_HANDLED_AT_ONCE * (protocol.maxRequestBytes + FRAME_OVERHEAD_BYTES),
    })
    const caller: Caller = { peer, signal: gone.signal }
    const running = new Set<Promise<void>>()
    const handle = async (frame: z.output<typeof requestFrame>) => {
      const answer = await this.#handle(frame, caller, protocol, handler)
      if (!gone.signal.aborted) await lp.write(answer, { signal: AbortSignal.timeout(WRITE_TIMEOUT_MS) })
    }
    try {
      while (!gone.signal.aborted) {
        while (running.size >= MAX_HANDLED_AT_ONCE) await Promise.race(running)
        const bytes = await lp.read()
        const task = handle(requestFrame.parse(decodeCanonical(bytes.subarray())))
          .catch(error => stream.abort(asError(error)))
          .finally(() => running.delete(task))
        running.add(task)
      }
    } catch (error) {
      if (stream.status !== 'open') return
      this.#host.log.debug(
        { peer, protocol: protocol.id, reason: describeError(error) },
        'A request stream ended.',
      )
      stream.abort(asError(error))
    }
  }

  async #handle<Q extends z.ZodType, A extends z.ZodType>(
    frame: z.output<typeof requestFrame>,
    caller: Caller,
    protocol: RequestProtocol<Q, A>,
    handler: (body: z.output<Q>, caller: Caller) => Promise<z.input<A>> | z.input<A>,
  ): Promise<Uint8Array> {
    try {
      const body = protocol.request.safeParse(frame.b)
      if (!body.success)
        throw new ApusError('request-invalid', `The request is not valid: ${z.prettifyError(body.error)}`)
      const bytes = encodeBody({ i: frame.i, b: await handler(body.data, caller) })
      if (bytes.length > protocol.maxResponseBytes + FRAME_OVERHEAD_BYTES)
        throw new ApusError('answer-too-large', 'The answer is too large for one message.')
      return bytes
    } catch (error) {
      if (!(error instanceof ApusError))
        this.#host.log.warn({ err: error, protocol: protocol.id }, 'A request could not be answered.')
      const e =
        error instanceof ApusError
          ? { c: error.code, m: error.message.slice(0, MAX_ERROR_TEXT), r: error.retry }
          : { c: 'internal', m: 'The peer failed to answer.', r: true }
      return encodeCanonical({ i: frame.i, e })
    }
  }
}

interface Waiting {
  resolve(body: unknown): void
  reject(error: unknown): void
}

/** The asking end of one stream. */
class Line {
  readonly #stream: Stream
  readonly #lp: ReturnType<typeof lpStream<Stream>>
  readonly #waiting = new Map<number, Waiting>()
  readonly #onClosed: () => void
  #next = 0
  #heard = 0

  constructor(stream: Stream, protocol: RequestProtocol<z.ZodType, z.ZodType>, onClosed: () => void) {
    this.#stream = stream
    this.#onClosed = onClosed
    const maxDataLength = protocol.maxResponseBytes + FRAME_OVERHEAD_BYTES
    this.#lp = lpStream(stream, { maxDataLength, maxBufferSize: 4 * maxDataLength })
    void this.#listen()
  }

  get open(): boolean {
    return this.#stream.status === 'open'
  }

  async ask(body: unknown, signal: AbortSignal): Promise<unknown> {
    if (this.#waiting.size >= MAX_IN_FLIGHT)
      throw new ApusError('peer-busy', 'Too many requests to this peer wait for an answer.', { retry: true })
    const i = this.#next++
    const heardBefore = this.#heard
    const answer = new Promise<unknown>((resolve, reject) => this.#waiting.set(i, { resolve, reject }))
    answer.catch(() => {})
    try {
      await this.#lp.write(encodeBody({ i, b: body }), { signal })
      return await raceAbort(answer, signal)
    } catch (error) {
      // A peer that said nothing for a whole timeout may have lost the stream, and unread requests would pile up in it.
      if (this.#heard === heardBefore) this.close()
      throw error instanceof ApusError || signal.aborted ? error : disconnected(error)
    } finally {
      this.#waiting.delete(i)
    }
  }

  close(): void {
    this.#stream.abort(new Error('the line is closed'))
    this.#fail(disconnected())
  }

  async #listen(): Promise<void> {
    try {
      for (;;) {
        const bytes = await this.#lp.read()
        const frame = answerFrame.parse(decodeCanonical(bytes.subarray()))
        this.#heard++
        const waiting = this.#waiting.get(frame.i)
        if (waiting === undefined) continue
        if ('e' in frame)
          waiting.reject(new ApusError(frame.e.c, frame.e.m, { retry: frame.e.r, blame: 'peer' }))
        else waiting.resolve(frame.b)
      }
    } catch (error) {
      this.#stream.abort(asError(error))
      this.#fail(disconnected(error))
    }
  }

  #fail(error: ApusError): void {
    this.#onClosed()
    for (const waiting of this.#waiting.values()) waiting.reject(error)
    this.#waiting.clear()
  }
}

const disconnected = (cause?: unknown) =>
  new ApusError('peer-disconnected', 'The peer closed the stream before it answered.', {
    retry: true,
    blame: 'peer',
    cause,
  })

const asError = (error: unknown): Error => (error instanceof Error ? error : new Error(String(error)))

// DAG-CBOR has no `undefined`; an absent field is the same thing.
const encodeBody = (body: unknown): Uint8Array => encodeCanonical(dropUndefined(body))

function dropUndefined(value: unknown): unknown {
  if (Array.isArray(value)) return value.map(dropUndefined)
  if (value === null || typeof value !== 'object' || value instanceof Uint8Array) return value
  return Object.fromEntries(
    Object.entries(value)
      .filter(([, v]) => v !== undefined)
      .map(([k, v]) => [k, dropUndefined(v)]),
  )
}
