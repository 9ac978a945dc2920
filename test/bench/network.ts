import { randomBytes } from 'node:crypto'
import { parseArgs } from 'node:util'
import { describeError, Secret } from '@apus/shared/kit'
import { NODE_KEY_BYTES, nodeKey } from '@apus/shared/p2p'
import { ENDED, type JobId, type JobState } from '@apus/shared/protocol'
import { createBullmqBoard } from '../../coordinator/src/adapters/bullmq-board.ts'
import { createCoordinator } from '../../coordinator/src/coordinator.ts'
import { MODEL, startSmallNetwork, until } from '../support/small-network.ts'

/**
 * Jobs from an AO message to their payment and settlement on a whole network whose model computes nothing: real AO
 * units, contracts, Redis and libp2p. Times of stages are the scheduler's.
 */
const { values } = parseArgs({
  options: {
    json: { type: 'boolean', default: false },
    jobs: { type: 'string', default: '60' },
    /** Jobs under way at the same time. */
    clients: { type: 'string', default: '8' },
    miners: { type: 'string', default: '8' },
    redundancy: { type: 'string', default: '3' },
  },
})
const jobs = Number(values.jobs)
const clients = Number(values.clients)
const redundancy = Number(values.redundancy)
const DISPUTE_WINDOW_MS = 2_000
const WARM_UP_JOBS = 4
/** A job that has not ended by then is lost. */
const PATIENCE_MS = 300_000

const STAGES = ['submittedToDrawn', 'drawnToCommitted', 'committedToRevealing', 'revealingToAgreed'] as const
const ENDS_STAGE: Partial<Record<JobState, number>> = { seated: 0, auditing: 1, revealing: 2, agreed: 3 }

interface Course {
  readonly submitted: number
  /** When each stage ended, in ms. */
  readonly ends: (number | undefined)[]
  final?: number
}

const net = await startSmallNetwork({
  name: 'bench',
  miners: Number(values.miners),
  parameters: { disputeWindow: DISPUTE_WINDOW_MS, commitWindow: 120_000, revealWindow: 120_000 },
})
try {
  const redis = await net.startRedis()
  const coordinator = createCoordinator(
    { network: net.network, token: net.token, peers: {}, httpPort: 0, pollMs: 200 },
    {
      ao: (await net.party('coordinator')).ao,
      key: nodeKey(new Uint8Array(randomBytes(NODE_KEY_BYTES))),
      board: createBullmqBoard({ redis: new Secret(redis.url), name: net.network, log: net.log }),
      log: net.log,
    },
  )
  const { url, addresses } = await coordinator.start()
  for (const miner of net.miners) await net.startMiner(miner, addresses)
  const healthy = async () => (await fetch(`${url}/health`)).ok
  await until(healthy)

  const feed = await net.follow(100)
  const courses = new Map<JobId, Course>()
  const changed: [JobId, JobState][] = []
  feed.onChange(change => {
    if (change.kind === 'job') changed.push([change.job.id, change.job.state])
  })
  // Told after all changes of one evaluation, so that the clock is that of the message that made them.
  feed.onMessage(() => {
    const at = feed.mirror.clock?.timestamp ?? Date.now()
    for (const [id, state] of changed.splice(0)) {
      const course = courses.get(id)
      const stage = ENDS_STAGE[state]
      if (course && stage !== undefined) course.ends[stage] ??= at
      if (course && ENDED.includes(state)) course.final ??= at
    }
  })

  const run = async (): Promise<void> => {
    const submitted = Date.now()
    const id = await net.requester.client.submitJob({
      model: MODEL,
      prompt: 'Say nothing.',
      maxTokens: 16,
      redundancy,
    })
    courses.set(id, { submitted, ends: [] })
    // The seats may have been drawn before the answer to the submission was here.
    const known = feed.mirror.jobs.get(id)
    if (known !== undefined) changed.push([id, known.state])
    await until(() => courses.get(id)?.ends[3] !== undefined, PATIENCE_MS)
  }
  const runAll = async (count: number): Promise<void> => {
    let left = count
    const client = async () => {
      while (left-- > 0) await run().catch(error => console.error(describeError(error)))
    }
    await Promise.all(Array.from({ length: clients }, client))
  }

  await runAll(WARM_UP_JOBS)
  courses.clear()
  const before = await ticks(url)
  const from = Date.now()
  await runAll(jobs)
  const to = Math.max(...[...courses.values()].map(course => course.ends[3] ?? from))
  await until(() => [...courses.values()].every(course => course.final !== undefined), PATIENCE_MS).catch(
    () => {},
  )
  const settled = [...courses.keys()].filter(id => feed.mirror.jobs.get(id)?.state === 'settled').length
  const ticked = (await ticks(url)) - before
  const conserved = await net.conserved()
  await coordinator.stop()

  const done = [...courses.values()].filter(course => course.ends.length === 4)
  const latencies = done.map(course => (course.ends[3] ?? 0) - course.submitted)
  const stageMs = (course: Course, stage: number): number =>
    (course.ends[stage] ?? 0) - (stage === 0 ? course.submitted : (course.ends[stage - 1] ?? 0))
  const result = {
    jobsPerSecond: round((done.length / (to - from)) * 1000),
    p50Ms: quantile(latencies, 0.5),
    p99Ms: quantile(latencies, 0.99),
    shareMs: Object.fromEntries(
      STAGES.map((name, stage) => [name, mean(done.map(course => stageMs(course, stage)))]),
    ),
    finalMs: quantile(
      done.map(course => (course.final ?? 0) - course.submitted),
      0.5,
    ),
    lost: jobs - settled,
    conserved,
    jobs,
    clients,
    miners: net.miners.length,
    redundancy,
    ticksPerJob: round(ticked / jobs),
  }
  console.log(table(result))
  if (values.json) console.log(JSON.stringify(result))
  if (result.lost > 0 || !conserved) process.exitCode = 1
} finally {
  await net.close()
}

async function ticks(url: string): Promise<number> {
  const text = await (await fetch(`${url}/metrics`)).text()
  const lines = text.matchAll(/^apus_coordinator_ticks_total\{.*outcome="sent"\} (\d+)$/gm)
  return [...lines].reduce((sum, line) => sum + Number(line[1]), 0)
}

function quantile(numbers: readonly number[], q: number): number {
  const sorted = numbers.toSorted((a, b) => a - b)
  return Math.round(sorted[Math.min(sorted.length - 1, Math.floor(q * sorted.length))] ?? Number.NaN)
}

function mean(numbers: readonly number[]): number {
  return Math.round(numbers.reduce((sum, n) => sum + n, 0) / numbers.length)
}

function round(number: number): number {
  return Math.round(number * 100) / 100
}

function table(result: Readonly<Record<string, unknown>>): string {
  const { shareMs, ...rest } = result
  const rows = [...Object.entries(rest), ...Object.entries(shareMs as Record<string, number>)]
  return rows.map(([name, value]) => `${name.padEnd(22)}${String(value).padStart(10)}`).join('\n')
}
