import { type ChildProcess, spawn } from 'node:child_process'
import { mkdir } from 'node:fs/promises'
import { createServer } from 'node:net'
import { join } from 'node:path'
import { ApusError } from '@apus/shared/kit'

/** A server that replays a large log may take a while; an empty one needs 20 ms. */
const START_TIMEOUT_MS = 30_000
/** After this long without an orderly end the server is killed; its log is on disk already. */
const STOP_TIMEOUT_MS = 10_000

export interface RedisOptions {
  /** Where its files live; made when missing. */
  readonly dir: string
  /** Default: a free port on loopback. */
  readonly port?: number
  /** Path of the program; default: `redis-server` on the PATH. */
  readonly program?: string
}

/** A Redis server that is a child of this program. */
export interface RedisServer {
  readonly url: string
  readonly port: number
  readonly pid: number | undefined
  /** Starts it again at the same port with the same data; nothing happens while it runs. */
  start(): Promise<void>
  /** Ends it in an orderly way. */
  stop(): Promise<void>
  /** Ends it as a power cut would, as far as this program can (SIGKILL). */
  kill(): Promise<void>
}

/**
 * Starts a Redis on loopback that writes every change to its append-only log. Errors: `redis-missing`,
 * `port-in-use`, `redis-failed`.
 */
export async function startRedis(options: RedisOptions): Promise<RedisServer> {
  await mkdir(options.dir, { recursive: true })
  const port = options.port ?? (await freePort())
  let child: ChildProcess | undefined
  let ended: Promise<void> = Promise.resolve()

  const start = async (): Promise<void> => {
    if (child !== undefined) return
    const started = spawn(options.program ?? 'redis-server', settings(options.dir, port), {
      stdio: ['ignore', 'pipe', 'pipe'],
    })
    child = started
    ended = new Promise(resolve => {
      const over = () => {
        if (child === started) child = undefined
        resolve()
      }
      started.once('exit', over)
      started.once('error', over)
    })
    try {
      await untilReady(started, port)
    } catch (error) {
      started.kill('SIGKILL')
      await ended
      throw error
    }
  }
  const end = async (signal: NodeJS.Signals): Promise<void> => {
    const running = child
    if (running === undefined) return
    running.kill(signal)
    const timer = setTimeout(() => running.kill('SIGKILL'), STOP_TIMEOUT_MS)
    await ended
    clearTimeout(timer)
  }

  await start()
  return {
    url: `redis://127.0.0.1:${port}`,
    port,
    get pid() {
      return child?.pid
    },
    start,
    stop: () => end('SIGTERM'),
    kill: () => end('SIGKILL'),
  }
}

const settings = (dir: string, port: number): string[] =>
  Object.entries({
    bind: '127.0.0.1',
    port: String(port),
    dir,
    appendonly: 'yes',
    // Written before it answers, which outlives the program; `everysec` would put that off while the disk is slow.
    appendfsync: 'no',
    save: '',
    'maxmemory-policy': 'noeviction',
    daemonize: 'no',
    pidfile: join(dir, 'redis.pid'),
  }).flatMap(([name, value]) => [`--${name}`, value])

function untilReady(child: ChildProcess, port: number): Promise<void> {
  return new Promise((resolve, reject) => {
    let output = ''
    const timer = setTimeout(() => fail('did not start in time'), START_TIMEOUT_MS)
    const fail = (what: string, cause?: unknown) => {
      clearTimeout(timer)
      reject(startError(what, output, port, cause))
    }
    const read = (chunk: Buffer) => {
      output = `${output}${chunk}`.slice(-10_000)
      if (!output.includes('Ready to accept connections')) return
      clearTimeout(timer)
      // The pipes stay open and drained, or a full pipe would stall the server.
      child.stdout?.off('data', read).resume()
      child.stderr?.off('data', read).resume()
      resolve()
    }
    child.stdout?.on('data', read)
    child.stderr?.on('data', read)
    child.once('error', cause => fail('could not be started', cause))
    child.once('exit', code => fail(`ended with code ${code}`))
  })
}

function startError(what: string, output: string, port: number, cause: unknown): ApusError {
  if (output.includes('Address already in use')) {
    return new ApusError(
      'port-in-use',
      `Another program listens on port ${port}, which Redis was told to use.`,
    )
  }
  if ((cause as NodeJS.ErrnoException | undefined)?.code === 'ENOENT') {
    return new ApusError(
      'redis-missing',
      'redis-server is not installed; install version 6.2 or newer (on Debian: apt-get install redis-server).',
      { cause },
    )
  }
  return new ApusError('redis-failed', `The Redis server ${what}.`, {
    cause,
    details: { output: output.slice(-500) },
  })
}

/** A port of loopback that was free a moment ago. */
export async function freePort(): Promise<number> {
  const server = createServer()
  await new Promise<void>((resolve, reject) => {
    server.once('error', reject)
    server.listen(0, '127.0.0.1', resolve)
  })
  const address = server.address()
  await new Promise(resolve => server.close(resolve))
  if (address === null || typeof address === 'string') throw new Error('no port')
  return address.port
}
