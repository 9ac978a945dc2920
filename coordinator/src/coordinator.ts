import type { AoClient } from '@apus/shared/ao'
import { type Clock, type Logger, systemClock } from '@apus/shared/kit'
import { NetworkClient } from '@apus/shared/network'
import { type HostOptions, joinNetwork, type NodeKey } from '@apus/shared/p2p'
import {
  type Address,
  ENDED,
  JOB_STATES,
  type JobId,
  type JobView,
  type ProcessId,
} from '@apus/shared/protocol'
import { RoundKeeper } from '@apus/shared/rounds'
import { DisputeKeeper } from './disputes/dispute-keeper.ts'
import { healthOf } from './health.ts'
import { startHttp } from './http/server.ts'
import { handOutTo } from './jobs/hand-out.ts'
import type { JobBoard } from './jobs/job-board.ts'
import { MinerClient } from './jobs/miner-client.ts'
import { taskOf } from './jobs/task.ts'
import { TaskFeed } from './jobs/task-feed.ts'
import { CoordinatorMetrics } from './metrics.ts'
import { PhaseWatch } from './rounds/phase-watch.ts'
import { WatchedFeed } from './watched-feed.ts'

export type { JobBoard } from './jobs/job-board.ts'

/** Overdue moves asked of each tick beyond those that every message makes: the most the contract allows. */
const TICK_LIMIT = 16

export interface CoordinatorConfig {
  readonly network: ProcessId
  readonly token: ProcessId
  readonly peers: Omit<HostOptions, 'network' | 'key' | 'log'>
  /** Loopback port; 0 takes a free one. */
  readonly httpPort: number
  /** Pause between looks at the network process when nothing is known to have happened (ms). */
  readonly pollMs: number
}

export interface CoordinatorParts {
  /** Its wallet signs the ticks and needs no funds. */
  readonly ao: AoClient
  readonly key: NodeKey
  readonly board: JobBoard
  readonly log: Logger
  readonly clock?: Clock
}

export interface Ready {
  readonly url: string
  readonly peer: string
  readonly addresses: readonly string[]
}

export interface Coordinator {
  /**
   * Begins to listen and to serve, then works through any outage of AO and of the board. Errors: `port-in-use`,
   * `address-invalid`, `host-failed`.
   */
  start(): Promise<Ready>
  stop(): Promise<void>
}

/** A coordinator: it watches, reminds and relays, holds nothing and decides nothing. */
export function createCoordinator(config: CoordinatorConfig, parts: CoordinatorParts): Coordinator {
  const closers: (() => Promise<unknown>)[] = []
  const stop = async () => {
    for (const close of closers.splice(0)) await close()
  }
  return {
    start: async () => {
      try {
        return await open(config, parts, close => closers.unshift(close))
      } catch (error) {
        await stop()
        throw error
      }
    },
    stop,
  }
}

/** Opens the parts in the order in which they need each other; `onStop` takes the way to close each. */
async function open(
  config: CoordinatorConfig,
  { ao, key, board, log, clock = systemClock }: CoordinatorParts,
  onStop: (close: () => Promise<unknown>) => void,
): Promise<Ready> {
  const { network } = config
  const metrics = new CoordinatorMetrics()
  const feed = new WatchedFeed(ao, config, clock, log)
  const { mirror } = feed

  const joined = await joinNetwork({
    ...config.peers,
    network,
    key,
    log,
    clock,
    seated: (job, miner) => mirror.jobs.get(job)?.seats.some(seat => seat.miner === miner) ?? false,
  })
  onStop(() => joined.stop())
  const { host, requests, registrations, commitments } = joined
  const commitmentsSeen = (job: JobId): ReadonlySet<Address> =>
    new Set(commitments.ofJob(job).map(signed => signed.miner))

  const miners = new MinerClient({ network, requests, registrations, mirror, log })
  const tasks = new TaskFeed({
    board,
    handOut: handOutTo({
      job: id => mirror.jobs.get(id),
      commitmentsSeen,
      send: async (miner, job) => {
        const answer = await miners.send(miner, job)
        metrics.dispatched(answer)
        return answer
      },
    }),
    time: clock,
    log,
  })
  const client = new NetworkClient(ao, config)
  const keeper = new RoundKeeper({
    jobs: () => mirror.jobs.values(),
    clock: feed.clock,
    commitmentsSeen,
    tick: async () => {
      await client.tick(TICK_LIMIT)
      feed.poke()
    },
    dispatch: seats => tasks.want(seats.map(([job, seat]) => taskOf(network, job, seat))),
    onTick: (reason, error) => metrics.ticked(reason, error),
    time: clock,
    log,
  })

  const phases = new PhaseWatch((phase, ms) => metrics.phaseLeft(phase, ms))
  feed.onChange(change => {
    if (change.kind === 'miner') {
      registrations.update(change.miner)
      commitments.recheck()
    }
    if (change.kind === 'job') {
      if (feed.caughtUp) phases.see(change.job, clock.now())
      if (ENDED.includes(change.job.state)) commitments.forget(change.job.id)
    }
    keeper.look()
  })
  commitments.onNew(() => {
    metrics.committed()
    keeper.look()
    feed.poke()
  })

  const health = async () =>
    healthOf({
      caughtUp: feed.caughtUp,
      lagMs: feed.lagMs,
      store: board.store,
      state: tasks.state,
      tasks: await board.counts().catch(() => undefined),
      peers: host.peers().length,
      subscribers: host.subscribers().length,
      miners: mirror.miners.size,
    })
  metrics.gauge(
    'apus_coordinator_jobs',
    'Jobs known, by state.',
    () => countStates(mirror.jobs.values()),
    'state',
  )
  metrics.gauge('apus_coordinator_peers', 'Connected peers.', () => host.peers().length)
  metrics.gauge(
    'apus_coordinator_lag_seconds',
    'Time since the network process was last read to its end; -1 before the first time.',
    () => (feed.lagMs === undefined ? -1 : feed.lagMs / 1000),
  )
  const http = await startHttp(config.httpPort, {
    health,
    registry: metrics.registry,
    job: id => {
      const job = mirror.jobs.get(id)
      return job && { job, committed: [...commitmentsSeen(id)] }
    },
    log,
  })
  onStop(() => http.close())

  tasks.start()
  onStop(() => tasks.stop())
  onStop(() => keeper.stop())
  const disputes = new DisputeKeeper({
    disputes: () => mirror.disputes.values(),
    wallTimeOf: deadline => mirror.wallTimeOf(deadline),
    tick: () => client.tick(TICK_LIMIT),
    now: () => clock.now(),
    log,
  })
  onStop(() => disputes.stop())
  onStop(() => feed.stop())
  // While the feed reads history, jobs look as they did long ago and want things that were done long ago.
  feed.start(() => {
    keeper.start()
    disputes.start()
    log.info({ jobs: mirror.jobs.size, miners: mirror.miners.size }, 'The coordinator has caught up.')
  })
  return { url: http.url, peer: host.peer, addresses: host.addresses() }
}

const countStates = (jobs: Iterable<JobView>): ReadonlyMap<string, number> => {
  const counts = new Map<string, number>(JOB_STATES.map(state => [state, 0]))
  for (const { state } of jobs) counts.set(state, (counts.get(state) ?? 0) + 1)
  return counts
}
