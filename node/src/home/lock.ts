import { createHash } from 'node:crypto'
import { unlink } from 'node:fs/promises'
import { createConnection, createServer, type Server } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { ApusError } from '@apus/shared/kit'
import type { Home } from './home.ts'

/** The smallest limit that a system sets on the path of a socket (macOS: 104 bytes, Linux: 108), less its end mark. */
const LONGEST_SOCKET_PATH = 103

/** Lets go of a lock. */
export type Release = () => Promise<void>

/**
 * Holds the home for this process until released: a second miner on one home would contradict the first. Errors:
 * `already-running`.
 */
export async function lockHome(home: Home): Promise<Release> {
  const release = await hold(home.lock)
  if (release === undefined)
    throw new ApusError(
      'already-running',
      'Another miner runs with this home; two miners with one wallet would contradict each other.',
    )
  return release
}

/**
 * Holds a path as a lock until released or dead; undefined while someone else has it. A socket rather than a process id,
 * because ids repeat in containers and the kernel closes a dead process's sockets.
 */
export async function hold(path: string): Promise<Release | undefined> {
  const short = socketPath(path)
  const server = (await listen(short)) ?? (await takeOver(short))
  return server && (() => new Promise(resolve => server.close(() => resolve())))
}

async function takeOver(path: string): Promise<Server | undefined> {
  if (await answers(path)) return undefined
  await unlink(path).catch(() => {})
  return listen(path)
}

/** The listening server, or undefined when the path is taken. */
function listen(path: string): Promise<Server | undefined> {
  return new Promise((resolve, reject) => {
    const server = createServer(socket => socket.destroy())
    server.unref()
    server.once('error', (error: NodeJS.ErrnoException) =>
      error.code === 'EADDRINUSE' ? resolve(undefined) : reject(error),
    )
    server.listen(path, () => resolve(server))
  })
}

function answers(path: string): Promise<boolean> {
  return new Promise(resolve => {
    const socket = createConnection(path)
    socket.once('connect', () => {
      socket.destroy()
      resolve(true)
    })
    socket.once('error', () => resolve(false))
  })
}

/** The path itself where the kernel takes it, else a name for it in a folder for what is temporary. */
export function socketPath(path: string): string {
  const name = `apus-${createHash('sha256').update(path).digest('hex').slice(0, 32)}.sock`
  const paths = [path, join(tmpdir(), name), join('/tmp', name)]
  return paths.find(one => Buffer.byteLength(one) <= LONGEST_SOCKET_PATH) ?? path
}
