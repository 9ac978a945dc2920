import { ApusError, type Clock, type Logger, systemClock } from '@apus/shared/kit'
import {
  fetchTrace,
  type Host,
  type HostOptions,
  joinNetwork,
  type NodeKey,
  serveAnswers,
  serveTraces,
  tasksProtocol,
} from '@apus/shared/p2p'
import { type Address, ENDED, type JobId, type ModelId } from '@apus/shared/protocol'
import { type ClockSeen, RoundKeeper, seenClock } from '@apus/shared/rounds'
import { Disputes } from '../disputes/disputes.ts'
import { Replays } from '../disputes/replays.ts'
import { type AnswerStore, openAnswerStore } from '../work/answer-store.ts'
import { type HintAnswer, Hints } from '../work/hints.ts'
import { Journal } from '../work/journal.ts'
import { openJournalFile } from '../work/journal-file.ts'
import { type LeafStore, openLeafStore } from '../work/leaf-store.ts'
import { seatOf } from '../work/next-step.ts'
import type { Feed, Network, PromptSource, ServedModels } from '../work/ports.ts'
import { register, registrationNeeds } from '../work/registration.ts'
import { Work } from '../work/work.ts'
import { WorkMetrics } from '../work/work-metrics.ts'
import { type StatusServer, startStatusServer } from './status-server.ts'

export type { Engine, Generation, GenerationRequest, LoadedModel } from '../engine/engine.ts'
export type { Feed, Network, PromptSource, ServedModel, ServedModels } from '../work/ports.ts'

/** A coordinator that is awake sends its ticks well before this (ms). */
const TICK_PATIENCE_MS = 10_000
/** Miners without a coordinator do not all speak at once (ms). */
const TICK_JITTER_MS = 5_000
const NOBODY: ReadonlySet<Address> = new Set()

export interface MinerOptions {
  /** Journal file and folder of large answers; their parent exists. */
  readonly journal: string
  readonly answers: string
  /** Folder of the leaves under revealed roots. */
  readonly leaves: string
  readonly peers: Omit<HostOptions, 'network' | 'key' | 'log'>
  readonly runsPerModel?: number
  /** Disputes wrong results of jobs without a seat of this miner too. */
  readonly watch?: boolean
  /** Loopback port for status and metrics; 0 takes a free one, absent opens none. */
  readonly statusPort?: number | undefined
}

export interface MinerParts {
  /** The wallet's address. */
  readonly me: Address
  readonly key: NodeKey
  readonly network: Network
  readonly feed: Feed
  readonly models: ServedModels
  readonly prompts?: Pick<PromptSource, 'arweave'>
  readonly log: Logger
  readonly clock?: Clock
}

export interface MinerStatus {
  readonly address: string
  readonly peer: string
  readonly addresses: readonly string[]
  readonly peers: number
  readonly subscribers: number
  readonly models: readonly string[]
  readonly running: number
  readonly waiting: number
  readonly owed: number
  readonly journalBytes: number
  readonly journalFull: boolean
  readonly jobs: readonly { readonly id: string; readonly state: string; readonly seat: string | undefined }[]
}

export interface Miner {
  readonly host: Host
  readonly statusPort: number | undefined
  status(): MinerStatus
  /** Stops; within `graceMs` it first gives what its seats still owe. */
  stop(graceMs?: number): Promise<void>
}

/**
 * Starts a miner that is registered and has its models loaded. Errors: `not-registered`, `registered-elsewhere`,
 * `models-unlisted`, `journal-damaged`, `port-in-use`, `address-invalid`, and those of AO when it cannot be reached.
 */
export async function createMiner(options: MinerOptions, parts: MinerParts): Promise<Miner> {
  const { me, key, network, feed, models, log, clock = systemClock } = parts
  const closers: (() => Promise<unknown>)[] = []
  const opened = <T>(thing: T, close: (thing: T) => Promise<unknown>): T => {
    closers.unshift(() => close(thing))
    return thing
  }
  const closeAll = async () => {
    for (const close of closers) await close()
  }
  try {
    const needs = registrationNeeds(
      await network.miner(me),
      { peer: key.peer, models: [...models.keys()] },
      clock.now(),
    )
    const journal = opened(await Journal.open(await openJournalFile(options.journal)), j => j.close())
    const answers = await openAnswerStore(options.answers)
    await answers.tidy(clock.now())
    const leaves = await openLeafStore(options.leaves)
    await leaves.tidy(clock.now())
    const { host, requests, registrations, commitments } = opened(
      await joinNetwork({
        ...options.peers,
        network: network.network,
        key,
        log,
        clock,
        seated: (job, miner) => {
          const known = feed.mirror.jobs.get(job)
          return known !== undefined && seatOf(known, miner) !== undefined
        },
      }),
      joined => joined.stop(),
    )
    const metrics = new WorkMetrics()
    const prompts = {
      published: async (job: JobId) =>
        feed.mirror.prompts.get(job) || (await network.prompt(job)) || undefined,
      ...parts.prompts,
    }
    const work = new Work({
      me,
      key,
      network,
      models,
      journal,
      answers,
      metrics,
      clock,
      log,
      runsPerModel: options.runsPerModel ?? 1,
      prompts,
      leaves,
      announce: signed => commitments.publish(signed),
    })
    const hints = new Hints(work, me, models)
    await requests.serve(
      tasksProtocol,
      (hint): HintAnswer =>
        hint.network === network.network
          ? hints.take(hint.job, hint.prompt)
          : { status: 'refused', code: 'wrong-network' },
    )
    await serveAnswers(host, requests, (job, root) => findAnswer(journal, answers, job, root))
    await serveTraces(host, requests, job => findLeaves(feed, me, leaves, job))
    feed.onChange(change => {
      if (change.kind === 'miner') registrations.update(change.miner)
    })
    const disputes = new Disputes({
      network: network.network,
      me,
      mirror: feed.mirror,
      send: message => network.dispute(message),
      tick: () => network.tick(),
      replays: new Replays(models, prompts),
      watches: options.watch ?? false,
      signed: job => commitments.ofJob(job.id),
      leavesOf: async (job, { miner, statement: result }, signal) => {
        const peer = registrations.peerOf(miner)
        return peer === undefined || result === undefined
          ? undefined
          : fetchTrace(host, requests, peer, { job: job.id, roots: result }, { signal })
      },
      clock,
      log,
    })
    const networkClock = seenClock(feed, clock)
    opened(feed, f => f.stop())
    await feed.start()
    // Only now: what the feed told while it caught up was history.
    for (const job of feed.mirror.jobs.values()) work.take(job)
    feed.onChange(change => {
      if (change.kind !== 'job') return
      work.take(change.job)
      if (ENDED.includes(change.job.state)) commitments.forget(change.job.id)
    })
    const keeper = opened(ownRounds(parts, networkClock, clock), k => k.stop())
    feed.onChange(() => keeper.look())
    keeper.start()
    opened(disputes, d => d.stop())
    feed.onChange(() => disputes.look())
    disputes.start()
    if (needs.renew) await register(network, { me, key }, clock.now())
    if (needs.serve) await serveListed(parts)
    if (needs.resume) await network.resume()
    await work.start()

    const status = (): MinerStatus => ({
      address: me,
      peer: host.peer,
      addresses: host.addresses(),
      peers: host.peers().length,
      subscribers: host.subscribers().length,
      models: [...models.keys()],
      running: work.running,
      waiting: work.waiting,
      owed: work.owed(),
      journalBytes: journal.bytes,
      journalFull: journal.full,
      jobs: work.inHand().map(({ job, seat }) => ({ id: job.id, state: job.state, seat: seat?.state })),
    })
    addGauges(metrics, status)
    const server =
      options.statusPort === undefined
        ? undefined
        : opened<StatusServer>(
            await startStatusServer(options.statusPort, { registry: metrics.registry, status }),
            s => s.close(),
          )
    log.info(
      { peer: host.peer, addresses: host.addresses(), models: [...models.keys()] },
      'The miner is ready.',
    )
    return {
      host,
      statusPort: server?.port,
      status,
      stop: async (graceMs = 0) => {
        // Paused first: a seat drawn while stopping would be missed.
        if (graceMs > 0) await network.pause().catch(err => log.warn({ err }, 'AO did not accept the pause.'))
        await work.stop(graceMs)
        await closeAll()
      },
    }
  } catch (error) {
    await closeAll()
    throw error
  }
}

/** Offers the models that the network lists; one that was delisted hinders none of the others. */
async function serveListed({ network, feed, models, log }: MinerParts): Promise<void> {
  const isListed = (id: ModelId) => {
    const model = feed.mirror.models.get(id)
    return model !== undefined && model.delisted !== true
  }
  const listed = [...models.keys()].filter(isListed)
  const missing = [...models.keys()].filter(id => !isListed(id))
  if (listed.length === 0)
    throw new ApusError(
      'models-unlisted',
      `The network lists none of this miner's models: ${missing.join(', ')}.`,
    )
  if (missing.length > 0) log.warn({ models: missing }, 'The network does not list these models.')
  await network.serve(listed)
}

/** Keeps the rounds of this miner's seats, and the draws of jobs it could get, going when no coordinator does. */
function ownRounds(
  { me, network, feed, models, log }: MinerParts,
  clock: () => ClockSeen | undefined,
  time: Clock,
): RoundKeeper {
  return new RoundKeeper({
    jobs: () =>
      [...feed.mirror.jobs.values()].filter(
        job => seatOf(job, me) !== undefined || (job.state === 'submitted' && models.has(job.model)),
      ),
    clock,
    commitmentsSeen: () => NOBODY,
    tick: () => network.tick(),
    dispatch: () => {},
    onTick: () => {},
    patienceMs: TICK_PATIENCE_MS + Math.random() * TICK_JITTER_MS,
    time,
    log,
  })
}

/** Leaves are shown once the seat has revealed: before that a run is the miner's secret. */
async function findLeaves(feed: Feed, me: Address, shelf: LeafStore, job: JobId) {
  const seat = feed.mirror.jobs.get(job)?.seats.find(s => s.miner === me && s.statement !== undefined)
  return seat === undefined ? undefined : shelf.find(job)
}

async function findAnswer(
  journal: Journal,
  shelf: AnswerStore,
  ...[job, root]: Parameters<AnswerStore['find']>
) {
  const computed = journal.get(job)?.computed
  // Before its reveal an answer is the miner's secret: whoever knows it could commit to it as well.
  if (computed?.result.answerRoot === root && journal.get(job)?.revealedAt !== undefined)
    return computed.pieces.map(p => Buffer.from(p, 'base64'))
  return shelf.find(job, root)
}

function addGauges(metrics: WorkMetrics, status: () => MinerStatus): void {
  metrics.gauge('apus_miner_peers', 'Connected peers.', () => status().peers)
  metrics.gauge('apus_miner_running', 'Runs in progress.', () => status().running)
  metrics.gauge('apus_miner_waiting', 'Runs waiting for a model.', () => status().waiting)
  metrics.gauge('apus_miner_owed', 'Seats that owe a commitment or a reveal.', () => status().owed)
  metrics.gauge('apus_miner_journal_bytes', 'Size of the journal.', () => status().journalBytes)
  metrics.gauge(
    'apus_miner_journal_full',
    '1 while the journal cannot be written.',
    () => +status().journalFull,
  )
}
