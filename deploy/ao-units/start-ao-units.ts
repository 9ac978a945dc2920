import { mkdirSync } from 'node:fs'
import { createServer, type Server } from 'node:http'
import type { AddressInfo } from 'node:net'
import { availableParallelism } from 'node:os'
import { join } from 'node:path'
import { ApusError, createLogger, type Logger, systemClock } from '@apus/shared/kit'
import { ComputeThread } from './compute/compute.ts'
import { Residence } from './compute/residence.ts'
import { Cron } from './messages/cron.ts'
import { openUnitKey } from './messages/unit-key.ts'
import { Units } from './messages/units.ts'
import { Gateway } from './routes/gateway-routes.ts'
import { type Route, sendError, sendJson } from './routes/http.ts'
import { hyperbeamRoutes } from './routes/hyperbeam-routes.ts'
import { legacyRoutes } from './routes/legacy-routes.ts'
import { aosModuleRecord } from './routes/module-record.ts'
import { Ledger } from './store/ledger.ts'
import { lockDirectory } from './store/lock-directory.ts'
import { WeaveFiles } from './store/weave-files.ts'

export interface AoUnitsOptions {
  /** Everything the units remember; made when missing. */
  readonly dir: string
  /** 0 for a free port. */
  readonly port: number
  /** Loopback by default. */
  readonly host?: string
  /** The checked aos module. */
  readonly module: string
  /** File of the units' key; `<dir>/unit-key.json` by default, made when missing. */
  readonly wallet?: string
  /** How long one message may be evaluated, in ms. */
  readonly evaluationLimitMs?: number
  /** Threads that evaluate messages. */
  readonly threads?: number
  readonly log?: Logger
}

export interface AoUnits {
  readonly urls: {
    /** The whole server: a HyperBEAM node and an Arweave gateway. */
    readonly base: string
    readonly mu: string
    readonly cu: string
    readonly su: string
    readonly gateway: string
    readonly graphql: string
  }
  /** Address that may speak for processes; the same as `scheduler`. */
  readonly authority: string
  readonly scheduler: string
  readonly moduleId: string
  close(): Promise<void>
}

/** Longer than any message of an honest process takes, on a machine that does other work too. */
const EVALUATION_LIMIT_MS = 10_000
/** Each thread costs about 40 MB; more of them than this seldom have work at once. */
const MAX_THREADS = 4
/** Longer than the idle time after which clients drop connections, so that they never write into a closing one. */
const KEEP_ALIVE_MS = 65_000

/**
 * Starts scheduler, messenger and compute unit, HyperBEAM node and gateway in this process.
 * Errors: `wallet-invalid`, `dir-in-use`, `port-in-use`.
 */
export async function startAoUnits(options: AoUnitsOptions): Promise<AoUnits> {
  const log = options.log ?? createLogger({ name: 'ao-units', level: 'warn' })
  const snapshots = join(options.dir, 'snapshots')
  mkdirSync(snapshots, { recursive: true })
  const unlock = lockDirectory(options.dir)
  const key = openUnitKey(options.wallet ?? join(options.dir, 'unit-key.json'))
  const ledger = new Ledger(join(options.dir, 'log'))
  const limitMs = options.evaluationLimitMs ?? EVALUATION_LIMIT_MS
  const count = options.threads ?? Math.min(MAX_THREADS, Math.max(1, availableParallelism() - 1))
  const threads = Array.from({ length: count }, () => new ComputeThread(options.module, limitMs))
  const residence = new Residence({ ledger, threads, dir: snapshots, authority: key.address, log })
  const module = aosModuleRecord(options.module, key.address)
  const units = new Units({ ledger, key, module: module.id, residence, clock: systemClock, log })
  const gateway = new Gateway(units, new WeaveFiles(join(options.dir, 'weave')), module)
  const server = serve([legacyRoutes(units), hyperbeamRoutes(units), gateway.route], log)
  const cron = new Cron(units, log)
  const close = async (): Promise<void> => {
    cron.stop()
    server.close()
    await units.close()
    server.closeAllConnections()
    unlock()
  }
  try {
    const base = await listen(server, options.port, options.host ?? '127.0.0.1')
    cron.start()
    return {
      urls: {
        base,
        mu: `${base}/mu`,
        cu: `${base}/cu`,
        su: `${base}/su`,
        gateway: base,
        graphql: `${base}/graphql`,
      },
      authority: key.address,
      scheduler: key.address,
      moduleId: module.id,
      close,
    }
  } catch (error) {
    await close()
    throw error
  }
}

function serve(routes: readonly Route[], log: Logger): Server {
  const server = createServer({ keepAliveTimeout: KEEP_ALIVE_MS }, async (request, response) => {
    try {
      const url = new URL(request.url ?? '/', 'http://localhost')
      const path = url.pathname.split('/').filter(part => part !== '')
      for (const route of routes) if (await route({ request, response, url, path })) return
      sendJson(response, 404, { error: 'not-found: There is nothing at this path.', code: 'not-found' })
    } catch (error) {
      if (!(error instanceof ApusError)) log.error({ err: error, path: request.url }, 'request failed')
      if (!request.complete) response.shouldKeepAlive = false
      sendError(response, error)
    }
  })
  return server
}

function listen(server: Server, port: number, host: string): Promise<string> {
  return new Promise((resolve, reject) => {
    server.once('error', (cause: NodeJS.ErrnoException) => {
      const inUse = cause.code === 'EADDRINUSE'
      const message = inUse ? `Port ${port} is in use.` : `The AO units cannot listen on ${host}:${port}.`
      reject(new ApusError(inUse ? 'port-in-use' : 'listen-failed', message, { cause }))
    })
    server.listen(port, host, () => {
      const { port: actual } = server.address() as AddressInfo
      resolve(`http://${host.includes(':') ? `[${host}]` : host}:${actual}`)
    })
  })
}
