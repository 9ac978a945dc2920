import { ApusError, type Logger, type Secret, sleep } from '@apus/shared/kit'
import { DelayedError, type Job, Queue, Worker } from 'bullmq'
import { Redis } from 'ioredis'
import type { HandedOut, HandOut, JobBoard } from '../jobs/job-board.ts'
import { THROWN_RETRY_MS } from '../jobs/job-board.ts'
import { type Task, taskSchema } from '../jobs/task.ts'

const QUEUE = 'tasks'
/** Tasks handed out at the same time; each is one short request to a miner. */
const CONCURRENCY = 64
/** Handing out takes seconds at most; a coordinator that is silent for longer has died (ms). */
const DEFAULT_LOCK_MS = 30_000
/** A coordinator may die any number of times while it holds a task: the contract's deadline ends it, not the board. */
const MAX_STALLED = 1_000_000
/** Done tasks are remembered for longer than a seat can stay drawn, so that no late post wakes them (s). */
const DONE_KEPT_S = 3_600
const DONE_KEPT = 100_000
const CONNECT_TIMEOUT_MS = 3_000
/** A question to Redis that takes longer counts as lost; the caller asks again (ms). */
const COMMAND_TIMEOUT_MS = 5_000
const LONGEST_RECONNECT_MS = 1_000
const MINIMUM_REDIS: readonly [number, number] = [6, 2]

export interface BullmqBoardOptions {
  /** `redis://…`, `rediss://…` or the absolute path of a unix socket. */
  readonly redis: Secret<string>
  /** Boards with the same name at the same Redis are one board: use the network's id. */
  readonly name: string
  readonly log: Logger
  readonly lockMs?: number
}

type RedisAddress =
  | { readonly path: string }
  | {
      readonly host: string
      readonly port: number
      readonly username?: string
      readonly password?: string
      readonly db?: number
      readonly tls?: object
    }

/** The job board on Redis. Settings follow what was found to lose nothing when Redis is killed. */
export function createBullmqBoard(options: BullmqBoardOptions): JobBoard {
  const { log } = options
  const lockDuration = options.lockMs ?? DEFAULT_LOCK_MS
  let closing = false
  let parts: { readonly redis: Redis; readonly queue: Queue<Task>; readonly worker: Worker<Task> } | undefined

  const connection = <T extends object>(extra: T) => ({
    ...address(options.redis.reveal()),
    connectTimeout: CONNECT_TIMEOUT_MS,
    retryStrategy: (times: number) => (closing ? null : Math.min(50 * 2 ** times, LONGEST_RECONNECT_MS)),
    ...extra,
  })
  const opened = () => {
    if (parts === undefined || closing) throw unavailable(undefined)
    return parts
  }
  const onError = (err: Error) => log.debug({ err }, 'Redis reported an error.')

  return {
    store: 'redis',
    open: async handOut => {
      await checkRedis(address(options.redis.reveal()), log)
      const prefix = `apus-${options.name}`
      const redis = new Redis(
        connection({
          maxRetriesPerRequest: 3,
          enableOfflineQueue: false,
          commandTimeout: COMMAND_TIMEOUT_MS,
        }),
      )
      redis.on('error', onError)
      const queue = new Queue<Task>(QUEUE, { prefix, connection: redis })
      const worker = new Worker<Task, void>(QUEUE, (job, token) => process(job, token, handOut, log), {
        prefix,
        connection: connection({ maxRetriesPerRequest: null }),
        concurrency: CONCURRENCY,
        lockDuration,
        stalledInterval: lockDuration,
        maxStalledCount: MAX_STALLED,
        removeOnComplete: { age: DONE_KEPT_S, count: DONE_KEPT },
      })
      queue.on('error', onError)
      worker.on('error', onError)
      worker.on('stalled', task =>
        log.warn({ task }, 'A task of a coordinator that died is handed out again.'),
      )
      parts = { redis, queue, worker }
      // Redis answered a moment ago; should it be gone again, both connect by themselves once it is back.
      await asked(queue.waitUntilReady()).catch(onError)
    },
    post: async tasks => {
      if (tasks.length === 0) return
      const { queue } = opened()
      await asked(queue.addBulk(tasks.map(task => ({ name: 'task', data: task, opts: { jobId: task.id } }))))
    },
    drop: async ids => {
      const { queue } = opened()
      // A task in somebody's hand is locked and stays: the hand that holds it sees for itself that it is over.
      await asked(Promise.all(ids.map(id => queue.remove(id))))
    },
    counts: async () => {
      const { queue } = opened()
      const counts = await asked(queue.getJobCounts('wait', 'active', 'delayed'))
      return { waiting: counts.wait ?? 0, handing: counts.active ?? 0, leased: counts.delayed ?? 0 }
    },
    close: async () => {
      if (parts === undefined || closing) return
      const { redis, queue, worker } = parts
      const alive = await asked(queue.getJobCounts('active')).then(
        () => true,
        () => false,
      )
      closing = true
      // Without Redis there is nothing to wait for: what is in hand goes to the next board when its lock ends.
      await asked(worker.close(!alive)).catch(onError)
      await asked(queue.close()).catch(onError)
      redis.disconnect()
    },
  }
}

async function process(
  job: Job<Task>,
  token: string | undefined,
  handOut: HandOut,
  log: Logger,
): Promise<void> {
  const result = await handOutSafely(job, handOut, log)
  if (result.kind === 'done') return
  await job.moveToDelayed(Date.now() + result.afterMs, token)
  throw new DelayedError()
}

async function handOutSafely(job: Job<Task>, handOut: HandOut, log: Logger): Promise<HandedOut> {
  const task = taskSchema.safeParse(job.data)
  if (!task.success) {
    log.warn({ entry: job.id }, 'An entry of the board is not a task and is dropped.')
    return { kind: 'done' }
  }
  try {
    return await handOut(task.data, job.attemptsStarted)
  } catch (err) {
    log.warn({ err, task: task.data.id }, 'A task could not be handed out.')
    return { kind: 'later', afterMs: THROWN_RETRY_MS }
  }
}

/** Throws unless a usable Redis answers; warns when it would forget tasks in a crash. */
async function checkRedis(settings: RedisAddress, log: Logger): Promise<void> {
  const redis = new Redis({
    ...settings,
    connectTimeout: CONNECT_TIMEOUT_MS,
    lazyConnect: true,
    retryStrategy: () => null,
  })
  redis.on('error', () => {})
  let info: string
  try {
    info = await asked(redis.connect().then(() => redis.info()))
  } finally {
    redis.disconnect()
  }
  const field = (name: string): string | undefined =>
    new RegExp(`^${name}:(.*)\r?$`, 'm').exec(info)?.[1]?.trim()
  const version = field('redis_version') ?? '0.0'
  const [major = 0, minor = 0] = version.split('.').map(Number)
  if (major < MINIMUM_REDIS[0] || (major === MINIMUM_REDIS[0] && minor < MINIMUM_REDIS[1])) {
    throw new ApusError(
      'redis-too-old',
      `Redis ${MINIMUM_REDIS.join('.')} or newer is needed; this is ${version}.`,
    )
  }
  if (field('aof_enabled') !== '1')
    log.warn('Redis keeps no append-only log, so tasks are lost when Redis crashes.')
  if ((field('maxmemory_policy') ?? 'noeviction') !== 'noeviction') {
    log.warn('Redis may evict tasks; its maxmemory-policy should be noeviction.')
  }
}

/** The answer, or `redis-unavailable` when it fails or takes too long. */
async function asked<T>(answer: Promise<T>): Promise<T> {
  const late = new AbortController()
  try {
    return await Promise.race([
      answer,
      sleep(COMMAND_TIMEOUT_MS, late.signal).then(() =>
        Promise.reject(new Error('Redis did not answer in time.')),
      ),
    ])
  } catch (cause) {
    throw unavailable(cause)
  } finally {
    late.abort()
  }
}

const unavailable = (cause: unknown): ApusError =>
  new ApusError('redis-unavailable', 'Redis does not answer, so no task can be handed out at the moment.', {
    retry: true,
    blame: 'nobody',
    cause,
  })

const address = (text: string): RedisAddress => {
  if (text.startsWith('/')) return { path: text }
  const url = new URL(text)
  return {
    // An IPv6 address stands in brackets in a URL only.
    host: url.hostname.replace(/^\[(.*)\]$/, '$1'),
    port: Number(url.port || 6379),
    ...(url.username === '' ? {} : { username: decodeURIComponent(url.username) }),
    ...(url.password === '' ? {} : { password: decodeURIComponent(url.password) }),
    ...(url.pathname.length > 1 ? { db: Number(url.pathname.slice(1)) } : {}),
    ...(url.protocol === 'rediss:' ? { tls: {} } : {}),
  }
}
