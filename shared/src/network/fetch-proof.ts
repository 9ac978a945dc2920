import { z } from 'zod'
import type { AoClient } from '../ao/ao-client.ts'
import type { GatewayClient } from '../arweave/gateway-client.ts'
import { fromBase64 } from '../hashing/bytes.ts'
import { ApusError } from '../kit/errors.ts'
import { type ProofFile, proofFileSchema } from '../proofs/proof-file.ts'
import {
  answerMessageKey,
  type DisputeView,
  disputePayloads,
  type RevealedResult,
  seatAnswerKey,
  tokensKey,
} from '../protocol/dispute.ts'
import type { Address, ProcessId } from '../protocol/identity.ts'
import type { JobView, SeatView } from '../protocol/job.ts'
import { readCommitmentBytes } from '../protocol/signed-commitment.ts'
import { fetchSigned, type OfWallet } from './fetch-signed.ts'
import type { NetworkFeed } from './network-feed.ts'

const tag = z.object({ name: z.string(), value: z.string() })
const found = z.object({
  data: z.object({
    transactions: z.object({
      edges: z.array(z.object({ node: z.object({ id: z.string(), tags: z.array(tag) }) })),
    }),
  }),
})
const published = z.record(z.string(), z.string())

/** What accused seats ever said, which the network forgets when they are convicted. */
export interface DisputeRecord {
  /** Answers by `seatAnswerKey`. */
  readonly answers: ReadonlyMap<string, string>
  /** What they had read, by `tokensKey`. */
  readonly tokens: ReadonlyMap<string, string>
  /** Statements by job and miner. */
  readonly results: ReadonlyMap<string, RevealedResult>
}

/** Begins to keep the record; call it before the feed starts. */
export function keepRecord(feed: Pick<NetworkFeed, 'onMessage' | 'onChange'>): DisputeRecord {
  const answers = new Map<string, string>()
  const tokens = new Map<string, string>()
  const results = new Map<string, RevealedResult>()
  feed.onMessage(message => {
    if (!message.Tags.some(tag => tag.name === 'device' && tag.value === 'patch@1.0')) return
    for (const [name, kept] of [
      ['evidence', answers],
      ['tokens', tokens],
    ] as const) {
      const patch = published.safeParse(message.Tags.find(tag => tag.name === name)?.value)
      for (const [key, text] of Object.entries(patch.data ?? {})) if (text !== '') kept.set(key, text)
    }
  })
  feed.onChange(change => {
    if (change.kind !== 'job') return
    for (const { miner, statement: result } of change.job.seats)
      if (result !== undefined) results.set(`${change.job.id}.${miner}`, result)
  })
  return { answers, tokens, results: results }
}

interface Sources {
  readonly network: ProcessId
  readonly feed: Pick<NetworkFeed, 'mirror'>
  readonly record: DisputeRecord
  readonly gateway: Pick<GatewayClient, 'read'>
  readonly graphqlUrl: string
  /** Gives messages as they were signed. */
  readonly ao: Pick<AoClient, 'message'>
  /** Leaves out what the accused's wallet signed. */
  readonly unsigned?: boolean
  /** Whose fault it must be; anyone's by default. */
  readonly accused?: Address | undefined
}

/**
 * The proof of a dispute, or of the first fault that was proven in a job, from what the network published and the
 * messages that were sent to it. Errors: `no-proof` when nothing was proven, `unsigned` when what the accused signed cannot
 * be had and was not left out, and those of the gateway.
 */
export async function fetchProof(wanted: string, from: Sources): Promise<ProofFile> {
  const { mirror } = from.feed
  const isMeant = (miner: Address) => (from.accused ?? miner) === miner
  const proven = [...mirror.disputes.values()].filter(d => d.state === 'proven' && isMeant(d.accused))
  const dispute = proven.find(d => d.id === wanted) ?? proven.find(d => d.job === wanted)
  const job = mirror.jobs.get((dispute?.job ?? wanted) as JobView['id'])
  const seat = job?.seats.find(
    ({ miner, messages }) =>
      messages?.proof !== undefined && isMeant(miner) && (dispute?.accused ?? miner) === miner,
  )
  const id = seat?.messages?.proof
  if (job === undefined || seat === undefined || id === undefined)
    throw noProof('No fault was proven in a job or dispute with this id.')
  const sent = await sentTo(from, { ids: [id] })
  const fault = { job, seat, sent, dispute, from }
  switch (tagOf(sent, 'Action')) {
    case 'Prove-Step':
      return proofFileSchema.parse(await stepProof(fault))
    case 'Prove-Structure':
      return proofFileSchema.parse(await oneMessageProof('structure', fault))
    case 'Prove-Answer':
      return proofFileSchema.parse(await oneMessageProof('answer', fault))
    case 'Prove-Equivocation':
      return proofFileSchema.parse(await equivocationProofOf(fault))
    default:
      throw noProof('The message that proved the fault is of a kind that this version does not know.')
  }
}

/** A seat that was convicted by a message. */
interface Fault {
  readonly job: JobView
  readonly seat: SeatView
  readonly sent: Sent
  readonly dispute: DisputeView | undefined
  readonly from: Sources
}

async function stepProof({ job, seat, sent, dispute, from }: Fault) {
  if (dispute?.position === undefined) throw noProof('The dispute ended before any step was proven.')
  const { position, stage = 0, operation = 0, chunk, challenger } = dispute
  const { answers } = from.record
  const stagesKey = seatAnswerKey.stages(job.id, seat.miner, position)
  const operationsKey = seatAnswerKey.operations(job.id, seat.miner, position, stage)
  /** Operations that were shown with the stages came in no message of their own. */
  const operationsId = answers.get(answerMessageKey(operationsKey))
  const claim = await claimOf(job, seat, from)
  const signed = claim.signed && {
    ...claim.signed,
    stages: await signatureOf(from, seat, answers.get(answerMessageKey(stagesKey))),
    operations: operationsId && (await signatureOf(from, seat, operationsId)),
  }
  return {
    kind: 'step',
    ...claim,
    job: { ...claim.job, promptLength: job.promptLength },
    signed,
    dispute: dispute.id,
    challenger,
    position,
    stage,
    operation,
    chunk,
    stages: answers.get(stagesKey),
    operations: operationsId && answers.get(operationsKey),
    value: JSON.parse(
      answers.get(seatAnswerKey.chunks(job.id, seat.miner, position, stage, operation)) ?? 'null',
    ),
    proof: sent.data,
  }
}

async function signatureOf(from: Sources, { miner }: SeatView, id: string | undefined) {
  const { data: _, ...signature } = (await fetchSigned(from, miner, id)).message
  return signature
}

const oneMessageProof = async (kind: 'structure' | 'answer', { job, seat, sent, from }: Fault) => ({
  kind,
  ...(await claimOf(job, seat, from)),
  index: Number(tagOf(sent, 'Index')),
  proof: sent.data,
})

async function equivocationProofOf({ job, seat, sent, from }: Fault) {
  const { said } = disputePayloads['Prove-Equivocation'].parse(sent.data)
  const spoke = said.flatMap(({ statement }) => readCommitmentBytes(fromBase64(statement))?.peer ?? [])
  const peers = [...new Set(spoke)]
  const { model, sampler, stop, maxTokens, promptTokens } = job
  const isRevealed = said.length === 1
  return {
    kind: 'equivocation',
    v: 1,
    network: from.network,
    job: job.id,
    accused: seat.miner,
    peers,
    said,
    revealed: isRevealed
      ? { class: job.class, model, sampler, stop, maxTokens, promptTokens, ...revealedBy(job, seat, from) }
      : undefined,
    signed: from.unsigned
      ? undefined
      : { ...(await registered(from, seat, peers)), ...(isRevealed ? await signedClaimOf(seat, from) : {}) },
  }
}

/** The messages by which the accused's wallet registered peers. */
async function registered(from: Sources, { miner }: SeatView, peers: readonly string[]) {
  const found: OfWallet[] = []
  for (const peer of peers) {
    const tags = { Action: 'Register', 'Peer-Id': peer }
    const id = await idOf(from, { owners: [miner], ...filterOf(from, tags) })
    found.push(await fetchSigned(from, miner, id))
  }
  return { wallet: found[0]?.wallet, registers: found.map(({ message }) => message) }
}

/** What the accused claimed, with the model's first leaf. */
async function claimOf(job: JobView, seat: SeatView, from: Sources) {
  const listing = await sentTo(from, filterOf(from, { Action: 'List-Model', Model: job.model }))
  const { manifest, path } = z.object({ manifest: z.string(), path: z.string() }).parse(listing.data)
  const { id, model, sampler, stop, maxTokens, promptTokens } = job
  const claim = revealedBy(job, seat, from)
  return {
    v: 1,
    network: from.network,
    job: { id, class: job.class, model, sampler, stop, maxTokens, promptTokens },
    manifest: { leaf: manifest, path },
    accused: seat.miner,
    ...claim,
    tokens: claim.statement && from.record.tokens.get(tokensKey(job.id, claim.statement)),
    signed: from.unsigned ? undefined : await signedClaimOf(seat, from),
  }
}

const revealedBy = (job: JobView, { miner, resultRoot }: SeatView, { record }: Sources) => ({
  statement: record.results.get(`${job.id}.${miner}`),
  resultRoot,
})

async function signedClaimOf({ miner, messages }: SeatView, from: Sources) {
  const { wallet, message: commit } = await fetchSigned(from, miner, messages?.commit)
  const { message: reveal } = await fetchSigned(from, miner, messages?.reveal)
  return { wallet, commit, reveal }
}

const noProof = (message: string) => new ApusError('no-proof', message)

interface Sent {
  readonly data: unknown
  readonly tags: readonly z.output<typeof tag>[]
}

const tagOf = ({ tags }: Sent, name: string): string | undefined => tags.find(tag => tag.name === name)?.value

/** Which messages a gateway is asked for. */
interface Filter {
  readonly ids?: readonly string[]
  readonly owners?: readonly string[]
  readonly recipients?: readonly string[]
  readonly tags?: readonly { readonly name: string; readonly values: readonly string[] }[]
}

const filterOf = ({ network }: Sources, tags: Readonly<Record<string, string>>): Filter => ({
  recipients: [network],
  tags: Object.entries(tags).map(([name, value]) => ({ name, values: [value] })),
})

/** The last message that the filter lets pass, or undefined. */
async function lastOf({ graphqlUrl }: Sources, filter: Filter) {
  const query = `query($ids: [ID!], $owners: [String!], $recipients: [String!], $tags: [TagFilter!]) {
    transactions(ids: $ids, owners: $owners, recipients: $recipients, tags: $tags, first: 1) {
      edges { node { id tags { name value } } } } }`
  const response = await fetch(graphqlUrl, {
    method: 'POST',
    headers: { 'content-type': 'application/json' },
    body: JSON.stringify({ query, variables: filter }),
  })
  return found.parse(await response.json()).data.transactions.edges[0]?.node
}

const idOf = async (from: Sources, filter: Filter): Promise<string | undefined> =>
  (await lastOf(from, filter))?.id

/** The last such message: its Data, as JSON, and its tags. */
async function sentTo(from: Sources, filter: Filter): Promise<Sent> {
  const node = await lastOf(from, filter)
  if (node === undefined) throw noProof('The gateway does not know a message that the proof needs.')
  return { data: JSON.parse(Buffer.from(await from.gateway.read(node.id)).toString('utf8')), tags: node.tags }
}
