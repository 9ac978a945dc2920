import { z } from 'zod'
import type { GatewayClient } from '../arweave/gateway-client.ts'
import { type ProofFile, proofFileSchema } from '../dispute/proof-file.ts'
import { ApusError } from '../kit/errors.ts'
import { evidenceKey, type StatementView } from '../protocol/dispute.ts'
import type { Address, ProcessId } from '../protocol/identity.ts'
import type { JobView } from '../protocol/job.ts'
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
  /** Answers by `evidenceKey`. */
  readonly answers: ReadonlyMap<string, string>
  /** Statements by job and miner. */
  readonly statements: ReadonlyMap<string, StatementView>
}

/** Begins to keep the record; call it before the feed starts. */
export function keepRecord(feed: Pick<NetworkFeed, 'onMessage' | 'onChange'>): DisputeRecord {
  const answers = new Map<string, string>()
  const statements = new Map<string, StatementView>()
  feed.onMessage(message => {
    if (!message.Tags.some(tag => tag.name === 'device' && tag.value === 'patch@1.0')) return
    const patch = published.safeParse(message.Tags.find(tag => tag.name === 'evidence')?.value)
    for (const [key, text] of Object.entries(patch.data ?? {})) if (text !== '') answers.set(key, text)
  })
  feed.onChange(change => {
    if (change.kind !== 'job') return
    for (const { miner, statement } of change.job.seats)
      if (statement !== undefined) statements.set(`${change.job.id}.${miner}`, statement)
  })
  return { answers, statements }
}

interface Sources {
  readonly network: ProcessId
  readonly feed: Pick<NetworkFeed, 'mirror'>
  readonly record: DisputeRecord
  readonly gateway: Pick<GatewayClient, 'read'>
  readonly graphqlUrl: string
}

/**
 * The proof of a dispute, or of the first fault that was proven in a job, from what the network published and the
 * messages that were sent to it. Errors: `no-proof` when nothing was proven, and those of the gateway.
 */
export async function fetchProof(wanted: string, from: Sources): Promise<ProofFile> {
  const { mirror } = from.feed
  const proven = [...mirror.disputes.values()].filter(d => d.state === 'proven')
  const dispute = proven.find(d => d.id === wanted) ?? proven.find(d => d.job === wanted)
  const job = mirror.jobs.get((dispute?.job ?? wanted) as JobView['id'])
  if (job === undefined) throw noProof('Nothing was proven under this id.')
  if (dispute === undefined) return oneMessageProof(job, from)
  const { position, stage = 0, operation = 0 } = dispute
  if (position === undefined) throw noProof('The dispute came to no step.')
  const said = (key: string): unknown => JSON.parse(from.record.answers.get(key) ?? 'null')
  return proofFileSchema.parse({
    kind: 'step',
    ...(await claimOf(job, dispute.accused, from)),
    dispute: dispute.id,
    challenger: dispute.challenger,
    position,
    stage,
    operation,
    chunk: dispute.chunk,
    stages: said(evidenceKey.stages(job.id, dispute.accused, position)),
    operations: said(evidenceKey.operations(job.id, dispute.accused, position, stage)),
    value: said(evidenceKey.chunks(job.id, dispute.accused, position, stage, operation)),
    proof: (await sentTo(from, { Action: 'Prove-Step', Dispute: dispute.id })).data,
  })
}

const ONE_MESSAGE = { 'Prove-Structure': 'structure', 'Prove-Answer': 'answer' } as const

/** The proof in one message against a seat that was convicted without a dispute. */
async function oneMessageProof(job: JobView, from: Sources): Promise<ProofFile> {
  for (const { miner } of job.seats.filter(({ slashed }) => slashed !== undefined)) {
    for (const [action, kind] of Object.entries(ONE_MESSAGE)) {
      const sent = await sentTo(from, { Action: action, Job: job.id, Accused: miner }).catch(() => undefined)
      if (sent === undefined) continue
      const claim = await claimOf(job, miner, from)
      const index = Number(sent.tags.find(({ name }) => name === 'Index')?.value)
      return proofFileSchema.parse({ kind, ...claim, index, proof: sent.data })
    }
  }
  throw noProof('No step and no leaf of this job was proven wrong.')
}

/** What the accused claimed, with the model's first leaf. */
async function claimOf(job: JobView, accused: Address, from: Sources) {
  const listing = await sentTo(from, { Action: 'List-Model', Model: job.model })
  const { manifest, path } = z.object({ manifest: z.string(), path: z.string() }).parse(listing.data)
  const { id, model, sampler, stop, maxTokens, promptTokens, promptLength } = job
  return {
    v: 1,
    network: from.network,
    job: { id, class: job.class, model, sampler, stop, maxTokens, promptTokens, promptLength },
    manifest: { leaf: manifest, path },
    accused,
    statement: from.record.statements.get(`${job.id}.${accused}`),
    resultRoot: job.seats.find(({ miner }) => miner === accused)?.resultRoot,
  }
}

const noProof = (message: string) => new ApusError('no-proof', message)

/** The last message to the network with these tags: its Data, as JSON, and its tags. */
async function sentTo(
  { network, gateway, graphqlUrl }: Sources,
  tags: Readonly<Record<string, string>>,
): Promise<{ readonly data: unknown; readonly tags: readonly z.output<typeof tag>[] }> {
  const filters = Object.entries(tags).map(([name, value]) => ({ name, values: [value] }))
  const query =
    'query($tags: [TagFilter!], $to: [String!]) { transactions(tags: $tags, recipients: $to, first: 1) { edges { node { id tags { name value } } } } }'
  const response = await fetch(graphqlUrl, {
    method: 'POST',
    headers: { 'content-type': 'application/json' },
    body: JSON.stringify({ query, variables: { tags: filters, to: [network] } }),
  })
  const { data } = found.parse(await response.json())
  const node = data.transactions.edges[0]?.node
  if (node === undefined) throw noProof(`The gateway knows no ${tags.Action} message of this network.`)
  return { data: JSON.parse(Buffer.from(await gateway.read(node.id)).toString('utf8')), tags: node.tags }
}
