import { z } from 'zod'
import type { GatewayClient } from '../arweave/gateway-client.ts'
import { type ProofFile, proofFileSchema } from '../dispute/proof-file.ts'
import { ApusError } from '../kit/errors.ts'
import { evidenceKey, type StatementView } from '../protocol/dispute.ts'
import type { ProcessId } from '../protocol/identity.ts'
import type { NetworkFeed } from './network-feed.ts'

const found = z.object({
  data: z.object({
    transactions: z.object({ edges: z.array(z.object({ node: z.object({ id: z.string() }) })) }),
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

/**
 * The proof of a dispute, or of the first proven one of a job, from what the network published and the messages that
 * were sent to it. Errors: `no-proof` when nothing was proven, and those of the gateway.
 */
export async function fetchProof(
  wanted: string,
  from: {
    readonly network: ProcessId
    readonly feed: Pick<NetworkFeed, 'mirror'>
    readonly record: DisputeRecord
    readonly gateway: Pick<GatewayClient, 'read'>
    readonly graphqlUrl: string
  },
): Promise<ProofFile> {
  const { mirror } = from.feed
  const proven = [...mirror.disputes.values()].filter(d => d.state === 'proven')
  const dispute = proven.find(d => d.id === wanted) ?? proven.find(d => d.job === wanted)
  const job = dispute && mirror.jobs.get(dispute.job)
  const seat = job?.seats.find(s => s.miner === dispute?.accused && s.resultRoot !== undefined)
  if (!dispute || !job || !seat || dispute.position === undefined)
    throw new ApusError('no-proof', 'No step was proven wrong under this id.')
  const { position, stage = 0, operation = 0 } = dispute
  const said = (key: string): unknown => JSON.parse(from.record.answers.get(key) ?? 'null')
  const listing = await sentTo(from, { Action: 'List-Model', Model: job.model })
  const { manifest, path } = z.object({ manifest: z.string(), path: z.string() }).parse(listing)
  return proofFileSchema.parse({
    v: 1,
    network: from.network,
    dispute: dispute.id,
    job: {
      id: job.id,
      class: job.class,
      model: job.model,
      sampler: job.sampler,
      stop: job.stop,
      maxTokens: job.maxTokens,
      promptTokens: job.promptTokens,
      promptLength: job.promptLength,
    },
    manifest: { leaf: manifest, path },
    accused: dispute.accused,
    challenger: dispute.challenger,
    statement: from.record.statements.get(`${job.id}.${dispute.accused}`),
    resultRoot: seat.resultRoot,
    position,
    stage,
    operation,
    chunk: dispute.chunk,
    stages: said(evidenceKey.stages(job.id, dispute.accused, position)),
    operations: said(evidenceKey.operations(job.id, dispute.accused, position, stage)),
    value: said(evidenceKey.chunks(job.id, dispute.accused, position, stage, operation)),
    proof: await sentTo(from, { Action: 'Prove-Step', Dispute: dispute.id }),
  })
}

/** Data of the last message to the network with these tags, as JSON. */
async function sentTo(
  { network, gateway, graphqlUrl }: Parameters<typeof fetchProof>[1],
  tags: Readonly<Record<string, string>>,
): Promise<unknown> {
  const filters = Object.entries(tags).map(([name, value]) => ({ name, values: [value] }))
  const query =
    'query($tags: [TagFilter!], $to: [String!]) { transactions(tags: $tags, recipients: $to, first: 1) { edges { node { id } } } }'
  const response = await fetch(graphqlUrl, {
    method: 'POST',
    headers: { 'content-type': 'application/json' },
    body: JSON.stringify({ query, variables: { tags: filters, to: [network] } }),
  })
  const { data } = found.parse(await response.json())
  const id = data.transactions.edges[0]?.node.id
  if (id === undefined)
    throw new ApusError('no-proof', `The gateway knows no ${tags.Action} message of this network.`)
  return JSON.parse(Buffer.from(await gateway.read(id)).toString('utf8'))
}
