import { z } from 'zod'
import { ApusError } from '../kit/errors.ts'
import { type RunLeaves, type RunRoots, runRoots } from '../machine/run-leaves.ts'
import { type JobId, jobId, processId } from '../protocol/identity.ts'
import type { Host } from './host.ts'
import type { RequestOptions, RequestProtocol, Requests } from './requests.ts'

const KB = 1024
const CHECKPOINT_BYTES = 41
const HASH_BYTES = 32
/** Leaves of one answer; a run of 4,096 tokens has that many checkpoints and up to some 100,000 pages. */
const LEAVES_PER_ANSWER = 4096
/** Leaves of a kind that a run can have: 2^18 positions of the deepest model are disputed without this list. */
const MAX_LEAVES = 2 ** 20

const leaf = z.custom<Uint8Array>(
  v => v instanceof Uint8Array && (v.length === CHECKPOINT_BYTES || v.length === HASH_BYTES),
  'must be a checkpoint or a leaf hash',
)

const leafKind = z.enum(['checkpoints', 'pages'])
type LeafKind = z.infer<typeof leafKind>

/** What a seat's revealed roots stand over: checkpoint leaves and the leaf hashes of K/V pages, a part at a time. */
export const tracesProtocol = {
  id: '/apus/traces/1',
  request: z.object({
    network: processId,
    job: jobId,
    leaves: leafKind,
    from: z.int().min(0).max(MAX_LEAVES),
  }),
  response: z.object({ total: z.int().min(0).max(MAX_LEAVES), leaves: z.array(leaf).max(LEAVES_PER_ANSWER) }),
  maxRequestBytes: KB,
  maxResponseBytes: LEAVES_PER_ANSWER * (CHECKPOINT_BYTES + 3) + KB,
} as const satisfies RequestProtocol<z.ZodType, z.ZodType>

/**
 * Serves the leaves of jobs that this node revealed; `find` returns undefined for all others, since before its reveal
 * a run is the miner's secret. Callers get `trace-unknown`.
 */
export const serveTraces = (
  host: Host,
  requests: Requests,
  find: (job: JobId) => Promise<RunLeaves | undefined>,
): Promise<void> =>
  requests.serve(tracesProtocol, async ({ network, job, leaves: kind, from }) => {
    const leaves = network === host.network ? await find(job) : undefined
    if (leaves === undefined)
      throw new ApusError('trace-unknown', 'This node keeps no trace of that job.', { blame: 'peer' })
    const all = kind === 'checkpoints' ? leaves.checkpoints : leaves.pageLeaves
    return { total: all.length, leaves: all.slice(from, from + LEAVES_PER_ANSWER) }
  })

/**
 * Fetches a run’s leaves and checks it against the roots that were revealed. Errors: `trace-forged`, and those of
 * `request`.
 */
export async function fetchTrace(
  host: Host,
  requests: Requests,
  peer: string,
  wanted: { readonly job: JobId; readonly roots: RunRoots },
  options: RequestOptions = {},
): Promise<RunLeaves> {
  const all = async (kind: LeafKind): Promise<Uint8Array[]> => {
    const leaves: Uint8Array[] = []
    for (let total = 1; leaves.length < total; ) {
      const request = { network: host.network, job: wanted.job, leaves: kind, from: leaves.length }
      const part = await requests.request(peer, tracesProtocol, request, options)
      if (part.leaves.length === 0 && leaves.length < part.total) throw forged()
      total = part.total
      leaves.push(...part.leaves)
    }
    return leaves
  }
  const leaves = { checkpoints: await all('checkpoints'), pageLeaves: await all('pages') }
  const roots = runRoots(leaves)
  if (roots.checkpointRoot === wanted.roots.checkpointRoot && roots.kvRoot === wanted.roots.kvRoot)
    return leaves
  throw forged()
}

const forged = () =>
  new ApusError('trace-forged', 'The trace that the peer sent does not match the roots of its result.', {
    blame: 'peer',
  })
