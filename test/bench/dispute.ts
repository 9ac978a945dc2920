import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { parseArgs } from 'node:util'
import { systemClock } from '@apus/shared/kit'
import { NetworkClient, NetworkFeed, Requester } from '@apus/shared/network'
import type { JobView } from '@apus/shared/protocol'
import { provenFault } from '../../deploy/localnet/demonstration/proven-fault.ts'
import { type MinerRole, startLocalNetwork } from '../../deploy/localnet/network.ts'
import { until } from '../support/small-network.ts'
import { type Figures, measureLike, measureSevenBillion, measuring } from './dispute-shapes.ts'

/**
 * What a dispute costs. A miner that turned one bit of the embedded model's weights is proven wrong on a whole network:
 * its messages, their bytes, and the wall time from the reveal of its root to the slash. And for every operation of a
 * model of seven billion weights: messages and bytes of the dispute that ends there, and the time of the verdict.
 */
const { values } = parseArgs({
  options: { json: { type: 'boolean', default: false }, repeat: { type: 'string', default: '5' } },
})
const ROOT = join(import.meta.dirname, '..', '..')
const PATIENCE_MS = 180_000
const MINERS = [
  { name: 'ada' },
  { name: 'ben' },
  { name: 'liar', cheat: 'wrong-result' },
] as const satisfies readonly MinerRole[]

async function onNetwork() {
  const dir = await mkdtemp(join(tmpdir(), 'apus-dispute-'))
  const network = await startLocalNetwork({
    dir,
    wallets: join(ROOT, '.cache', 'wallets'),
    miners: MINERS,
    parameters: { disputeWindow: PATIENCE_MS },
    report: () => {},
  })
  try {
    const { ao, file, bundle } = network
    const failed = Promise.withResolvers<never>()
    const feed = new NetworkFeed(ao.requester, {
      network: file.network,
      pollMs: 50,
      onError: failed.reject,
    })
    await feed.start()
    let differ: number | undefined
    let slashed: number | undefined
    const job = await new Requester(new NetworkClient(ao.requester, file), {
      clock: systemClock,
      address: network.address('requester'),
    }).submit({
      model: bundle,
      prompt: 'What is a river?',
      maxTokens: 24,
      redundancy: MINERS.length - 1,
    })
    const look = ({ seats }: JobView) => {
      const roots = new Set(seats.flatMap(({ resultRoot }) => resultRoot ?? []))
      if (roots.size > 1) differ ??= feed.mirror.clock?.timestamp ?? Date.now()
      if (seats.some(seat => seat.slashed !== undefined))
        slashed ??= feed.mirror.clock?.timestamp ?? Date.now()
    }
    feed.onMessage(() => {
      const view = feed.mirror.jobs.get(job)
      if (view) look(view)
    })
    await Promise.race([until(() => slashed !== undefined, PATIENCE_MS), failed.promise])
    await feed.stop()
    const fault = await provenFault(ao.requester, file, job)
    if (!fault || differ === undefined || slashed === undefined)
      throw new Error('The liar was not proven wrong.')
    return { fault, wallMs: slashed - differ }
  } finally {
    await network.stop()
    await rm(dir, { recursive: true, force: true })
  }
}

const { fault, wallMs } = await onNetwork()
const measure = await measuring(Number(values.repeat))
const { story, traffic, proof } = fault
const embedded: Figures = {
  ...(await measureLike(measure, proof)),
  shape: story.model ?? '',
  operation: story.operation,
  messages: traffic.messages,
  bytesTotal: traffic.bytes,
  bytesLargest: traffic.largest,
}
const shapes = [embedded, ...(await measureSevenBillion(measure))]
const most = (of: (figures: Figures) => number | null) => Math.max(...shapes.map(shape => of(shape) ?? 0))
const result = {
  messages: most(s => s.messages),
  messagesWithheld: most(s => s.messagesWithheld),
  bytesTotal: most(s => s.bytesTotal),
  bytesWithheld: most(s => s.bytesWithheld),
  bytesLargest: most(s => s.bytesLargest),
  refereeMsAos: most(s => s.refereeMsAos),
  refereeMsLua: shapes.some(s => s.refereeMsLua === null) ? null : most(s => s.refereeMsLua),
  wallMs,
}
console.log(
  'Disputes from the opening to the proof; verdicts in ms of processor time, wall time from the reveal to the slash',
)
console.table(shapes)
console.table(result)
if (values.json) console.log(JSON.stringify({ ...result, shapes }))
