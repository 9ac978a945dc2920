import { randomBytes } from 'node:crypto'
import { toBase64Url } from '@apus/shared/hashing'
import { ApusError } from '@apus/shared/kit'
import { answerRoot } from '@apus/shared/machine'
import { serveAnswers } from '@apus/shared/p2p'
import type { Digest, JobId } from '@apus/shared/protocol'
import { lpStream } from '@libp2p/utils'
import { afterEach, expect, it } from 'vitest'
import { z } from 'zod'
import { fetchAnswer } from '../../shared/src/p2p/answers.ts'
import type { RequestProtocol } from '../../shared/src/p2p/requests.ts'
import { eventually, type Peer, randomId, startPeer } from '../support/p2p.ts'

const peers: Peer[] = []

async function pair(): Promise<[Peer, Peer]> {
  const [a, b] = await Promise.all([startPeer(new Map()), startPeer(new Map())])
  peers.push(a, b)
  await a.host.connect(b.host.addresses()[0] as string)
  return [a, b]
}

afterEach(async () => {
  await Promise.all(peers.splice(0).map(p => p.stop()))
})

const echo = {
  id: '/apus/test-echo/1',
  request: z.object({ text: z.string(), note: z.string().optional() }),
  response: z.object({ text: z.string() }),
  maxRequestBytes: 4096,
  maxResponseBytes: 4096,
} as const satisfies RequestProtocol<z.ZodType, z.ZodType>

const streamsOf = (peer: Peer, id: string): number =>
  peer.host.libp2p
    .getConnections()
    .flatMap(c => c.streams)
    .filter(s => s.protocol === id).length

it('answers many requests over one stream, each with its own answer', async () => {
  const [a, b] = await pair()
  await b.requests.serve(echo, async ({ text }) => ({ text: `${text}!` }))
  const asked = Array.from({ length: 60 }, (_, i) => `q${i}`)
  const answers = await Promise.all(
    asked.map(text => a.requests.request(b.host.peer, echo, { text, note: undefined })),
  )
  expect(answers.map(r => r.text)).toEqual(asked.map(text => `${text}!`))
  expect(streamsOf(a, echo.id)).toBe(1)
})

it('handles at most sixteen requests of a peer at once and refuses more than 64 unanswered ones', async () => {
  const [a, b] = await pair()
  let running = 0
  let most = 0
  const gate = Promise.withResolvers<void>()
  await b.requests.serve(echo, async ({ text }) => {
    most = Math.max(most, ++running)
    await gate.promise
    running--
    return { text }
  })
  const all = Array.from({ length: 70 }, (_, i) => a.requests.request(b.host.peer, echo, { text: String(i) }))
  const settled = Promise.allSettled(all)
  await eventually('sixteen run', () => running === 16)
  gate.resolve()
  const codes = (await settled).map(r => (r.status === 'rejected' ? r.reason.code : 'ok'))
  expect(most).toBe(16)
  expect(codes.filter(c => c === 'ok')).toHaveLength(64)
  expect(codes.filter(c => c === 'peer-busy')).toHaveLength(6)
})

it('carries errors with code, sentence and whether to retry; a crash gives no details away', async () => {
  const [a, b] = await pair()
  await b.requests.serve(echo, ({ text }) => {
    if (text === 'crash') throw new Error('secret detail')
    throw new ApusError('no-seat', 'This miner has no seat in the job.', { retry: true })
  })
  await expect(a.requests.request(b.host.peer, echo, { text: 'x' })).rejects.toMatchObject({
    code: 'no-seat',
    message: 'This miner has no seat in the job.',
    retry: true,
    blame: 'peer',
  })
  await expect(a.requests.request(b.host.peer, echo, { text: 'crash' })).rejects.toMatchObject({
    code: 'internal',
    message: expect.not.stringContaining('secret'),
  })
})

it('refuses a body that is not valid, too large, or too large an answer', async () => {
  const [a, b] = await pair()
  await b.requests.serve(echo, () => ({ text: 'y'.repeat(5000) }))
  const loose = { ...echo, request: z.looseObject({}) }
  await expect(a.requests.request(b.host.peer, loose, { text: 7 })).rejects.toMatchObject({
    code: 'request-invalid',
  })
  await expect(a.requests.request(b.host.peer, echo, { text: 'z'.repeat(5000) })).rejects.toMatchObject({
    code: 'request-too-large',
  })
  await expect(a.requests.request(b.host.peer, echo, { text: 'x' })).rejects.toMatchObject({
    code: 'answer-too-large',
  })
  await expect(
    a.requests.request(b.host.peer, { ...echo, id: '/apus/nobody/1' }, { text: 'x' }),
  ).rejects.toMatchObject({ code: 'peer-unreachable' })
})

it('times out, tells the caller its own abort, and opens a fresh stream to a peer that said nothing', async () => {
  const [a, b] = await pair()
  let silent = true
  await b.requests.serve(echo, ({ text }) => (silent ? new Promise(() => {}) : { text }))
  await expect(
    a.requests.request(b.host.peer, echo, { text: 'x' }, { timeoutMs: 200 }),
  ).rejects.toMatchObject({ code: 'peer-timeout', retry: true })
  const abort = new AbortController()
  const waiting = a.requests.request(b.host.peer, echo, { text: 'x' }, { signal: abort.signal })
  abort.abort(new Error('no longer wanted'))
  await expect(waiting).rejects.toThrow('no longer wanted')
  silent = false
  expect(await a.requests.request(b.host.peer, echo, { text: 'again' })).toEqual({ text: 'again' })
})

it('reconnects by itself to a peer that was restarted under the same key', async () => {
  const [a, b] = await pair()
  await b.requests.serve(echo, body => body)
  await a.requests.request(b.host.peer, echo, { text: 'before' })
  const listen = b.host.addresses().map(x => x.replace(/\/p2p\/.*/, ''))
  await b.stop()
  peers.splice(peers.indexOf(b), 1)
  await expect(a.requests.request(b.host.peer, echo, { text: 'gone' })).rejects.toMatchObject({ retry: true })
  const again = await startPeer(new Map(), { key: b.key, listen })
  peers.push(again)
  await again.requests.serve(echo, body => body)
  await eventually('answered again', async () => {
    const answer = await a.requests.request(b.host.peer, echo, { text: 'after' }).catch(() => undefined)
    return answer?.text === 'after'
  })
})

it('drops the stream of a caller that sends nonsense or announces too much, and goes on serving others', async () => {
  const [a, b] = await pair()
  await b.requests.serve(echo, body => body)
  for (const bytes of [randomBytes(40), Uint8Array.from([0xa1, 0x61, 0x69, 0x18, 0x01])]) {
    const stream = await a.host.libp2p.dialProtocol(b.host.libp2p.peerId, echo.id)
    await lpStream(stream).write(bytes)
    await eventually('dropped', () => stream.status !== 'open')
  }
  const stream = await a.host.libp2p.dialProtocol(b.host.libp2p.peerId, echo.id)
  stream.send(Uint8Array.from([0xff, 0xff, 0xff, 0x7f]))
  await eventually('dropped', () => stream.status !== 'open')
  expect(await a.requests.request(b.host.peer, echo, { text: 'still here' })).toEqual({ text: 'still here' })
})

it('lets a peer hold only a few streams open', async () => {
  const [a, b] = await pair()
  await b.requests.serve(echo, body => body)
  // One after the other: which of several at once are refused is chance.
  for (let i = 0; i < 12; i++)
    await a.host.libp2p
      .dialProtocol(b.host.libp2p.peerId, echo.id, { maxOutboundStreams: 100 })
      .catch(() => undefined)
  await eventually('four remain', () => streamsOf(b, echo.id) === 4)
})

it('fetches an answer of many pieces, and only the one that was asked for', async () => {
  const [a, b] = await pair()
  const pieces = Array.from({ length: 3000 }, () => randomBytes(20))
  const root = toBase64Url(answerRoot(pieces)) as Digest
  const job = randomId<JobId>()
  let served: readonly Uint8Array[] = pieces
  await serveAnswers(b.host, b.requests, async (id, wanted) =>
    id === job && wanted === root ? served : undefined,
  )
  const wanted = { job, answerRoot: root }
  expect(await fetchAnswer(a.host, a.requests, b.host.peer, wanted)).toHaveLength(3000)
  await expect(
    fetchAnswer(a.host, a.requests, b.host.peer, { job: randomId<JobId>(), answerRoot: root }),
  ).rejects.toMatchObject({ code: 'answer-unknown' })
  served = pieces.toReversed()
  await expect(fetchAnswer(a.host, a.requests, b.host.peer, wanted)).rejects.toMatchObject({
    code: 'answer-forged',
  })
})

it('names a port that is taken and a text that is not an address', async () => {
  const [a] = await pair()
  const taken = a.host.addresses()[0]?.replace(/\/p2p\/.*/, '') as string
  await expect(startPeer(new Map(), { listen: [taken] })).rejects.toMatchObject({ code: 'port-in-use' })
  await expect(startPeer(new Map(), { listen: ['127.0.0.1:4001'] })).rejects.toMatchObject({
    code: 'address-invalid',
  })
  await expect(a.host.connect('/ip4/127.0.0.1/tcp/9')).rejects.toMatchObject({ code: 'address-invalid' })
  await expect(a.host.connect(`/ip4/127.0.0.1/tcp/9/p2p/${a.host.peer}`)).rejects.toMatchObject({
    code: 'peer-unreachable',
  })
})
