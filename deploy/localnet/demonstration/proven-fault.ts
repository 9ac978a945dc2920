import type { AoClient, AoConfig } from '@apus/shared/ao'
import { GatewayClient } from '@apus/shared/arweave'
import { ApusError } from '@apus/shared/kit'
import { fetchProof, keepRecord, NetworkFeed, type NetworkFile } from '@apus/shared/network'
import { checkProof, type ProofStory, type StepProof } from '@apus/shared/proofs'
import type { JobId, ProcessId } from '@apus/shared/protocol'
import { z } from 'zod'

const POLL_MS = 150
const MILLIONTHS = 1_000_000n

/** A fault that the contract found, as people are told of it. Amounts in units. */
export interface ProvenFault {
  readonly dispute: string
  readonly accused: string
  readonly prover: string
  readonly story: ProofStory
  readonly proof: StepProof
  readonly traffic: Traffic
  /** How long a light verifier took to check the proof offline. */
  readonly checkMs: number
  readonly slashed: string
  readonly toProver: string
  readonly toRequester: string
  readonly burnt: string
}

/** Messages of a dispute from its opening to its end, and bytes of their Data. */
export interface Traffic {
  readonly messages: number
  readonly bytes: number
  readonly largest: number
}

const shares = z.object({ slashProver: z.int(), slashRequester: z.int() })

/** What was proven about a job, from what the network published; undefined when nothing was. */
export async function provenFault(
  ao: AoClient,
  file: NetworkFile,
  id: JobId,
): Promise<ProvenFault | undefined> {
  const failed = Promise.withResolvers<never>()
  const options = { network: file.network, pollMs: POLL_MS, history: true, onError: failed.reject }
  const feed = new NetworkFeed(ao, options)
  const record = keepRecord(feed)
  let parameters: unknown
  feed.onMessage(({ Tags }) => {
    parameters = Tags.find(({ name }) => name === 'parameters')?.value ?? parameters
  })
  await Promise.race([feed.start(), failed.promise]).finally(() => feed.stop())
  const { disputes, jobs, models } = feed.mirror
  const won = [...disputes.values()].find(({ job, state }) => job === id && state === 'proven')
  const job = jobs.get(id)
  const slashed = job?.seats.find(({ miner }) => miner === won?.accused)?.slashed
  const model = job && models.get(job.model)
  if (!won || !job || !model || slashed === undefined) return undefined
  const graphqlUrl = graphqlOf(file.ao)
  const gateway = new GatewayClient({ url: file.gateway ?? '' })
  const proof = await fetchProof(won.id, { network: file.network, feed, record, gateway, graphqlUrl, ao })
  if (proof.kind !== 'step') return undefined
  const began = performance.now()
  const story = await checkProof(proof)
  const checkMs = Math.round(performance.now() - began)
  const { slashProver, slashRequester } = shares.parse(JSON.parse(String(parameters)))
  const part = (millionths: number) => (BigInt(slashed) * BigInt(millionths)) / MILLIONTHS
  const price = BigInt(model.basePrice) + BigInt(model.tokenPrice) * BigInt(job.maxTokens)
  const toProver = part(slashProver)
  const toRequester = part(slashRequester) < price ? part(slashRequester) : price
  return {
    dispute: won.id,
    accused: won.accused,
    prover: won.challenger,
    story,
    proof,
    traffic: await trafficOf(graphqlUrl, file.network, won.id),
    checkMs,
    slashed,
    toProver: String(toProver),
    toRequester: String(toRequester),
    burnt: String(BigInt(slashed) - toProver - toRequester),
  }
}

export function graphqlOf(ao: AoConfig): string {
  if (ao.mode !== 'legacy')
    throw new ApusError('no-gateway', 'Messages are read from a gateway, and this network names none.')
  return ao.graphqlUrl
}

const answer = z.object({
  data: z.object({
    opened: z.object({
      edges: z.array(z.object({ node: z.object({ data: z.object({ size: z.string() }) }) })),
    }),
    moved: z.object({
      edges: z.array(z.object({ node: z.object({ data: z.object({ size: z.string() }) }) })),
    }),
  }),
})

/** All messages to the network about a dispute. */
export async function trafficOf(graphqlUrl: string, network: ProcessId, dispute: string): Promise<Traffic> {
  const edges = '{ edges { node { data { size } } } }'
  const query = `query($ids: [ID!], $tags: [TagFilter!], $to: [String!]) {
    opened: transactions(ids: $ids) ${edges} moved: transactions(tags: $tags, recipients: $to, first: 100) ${edges} }`
  const variables = { ids: [dispute], tags: [{ name: 'Dispute', values: [dispute] }], to: [network] }
  const response = await fetch(graphqlUrl, {
    method: 'POST',
    headers: { 'content-type': 'application/json' },
    body: JSON.stringify({ query, variables }),
  })
  const { opened, moved } = answer.parse(await response.json()).data
  const sizes = [...opened.edges, ...moved.edges].map(({ node }) => Number(node.data.size))
  return {
    messages: sizes.length,
    bytes: sizes.reduce((sum, size) => sum + size, 0),
    largest: Math.max(0, ...sizes),
  }
}
