import { createHash } from 'node:crypto'
import { unlink } from 'node:fs/promises'
import { createConnection, createServer, type Server } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { ApusError } from '@apus/shared'
import type { Home } from './home.ts'

/** The kernel's limit on the path of a socket, less its end mark. */
const LONGEST_SOCKET_PATH = 107

/**
 * Holds the home for this process until released: a second miner on one home would contradict the first. A socket
 * rather than a process id, because ids repeat in containers and the kernel closes a dead process's sockets.
 * Errors: `already-running`.
 */
export async function lockHome(home: Home): Promise<() => Promise<void>> {
  const path = socketPath(home.lock)
  const server = (await listen(path)) ?? (await takeOver(path))
  return () => new Promise(resolve => server.close(() => resolve()))
}

async function takeOver(path: string): Promise<Server> {
  if (!(await answers(path))) {
    await unlink(path).catch(() => {})
    const server = await listen(path)
    if (server !== undefined) return server
  }
  throw new ApusError('already-running', 'A miner runs with this home; two would contradict each other.')
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

const socketPath = (path: string): string =>
  Buffer.byteLength(path) <= LONGEST_SOCKET_PATH
    ? path
    : join(tmpdir(), `apus-${createHash('sha256').update(path).digest('hex').slice(0, 32)}.sock`)
