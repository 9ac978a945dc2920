import { type ChildProcess, execFile, spawn } from 'node:child_process'
import { once } from 'node:events'
import { createInterface } from 'node:readline'
import { fileURLToPath } from 'node:url'

const MAIN = fileURLToPath(new URL('../../node/src/main.ts', import.meta.url))

export interface CliResult {
  readonly code: number
  readonly stdout: string
  readonly stderr: string
}

/** Runs `apus-node` with a home and waits for its end. */
export const apusNode = (home: string, ...args: readonly string[]): Promise<CliResult> =>
  new Promise(resolve => {
    execFile(process.execPath, [MAIN, '--home', home, ...args], (error, stdout, stderr) =>
      resolve({ code: error === null ? 0 : Number(error.code ?? 1), stdout, stderr }),
    )
  })

export interface MinerProcess {
  readonly peer: string
  readonly address: string
  readonly statusPort: number
  readonly log: readonly string[]
  kill(signal: NodeJS.Signals): Promise<number | null>
}

/** `apus-node start` as a process of its own, once it is ready. */
export async function startMinerProcess(home: string): Promise<MinerProcess> {
  const child: ChildProcess = spawn(process.execPath, [MAIN, '--home', home, 'start'], {
    stdio: ['ignore', 'pipe', 'pipe'],
  })
  const log: string[] = []
  createInterface({ input: child.stderr as NodeJS.ReadableStream }).on('line', line => log.push(line))
  const exited = once(child, 'exit')
  const [line] = (await Promise.race([
    once(createInterface({ input: child.stdout as NodeJS.ReadableStream }), 'line'),
    exited.then(([code]) => Promise.reject(new Error(`The miner ended with ${code}: ${log.join('\n')}`))),
  ])) as [string]
  const ready = JSON.parse(line) as { peer: string; addresses: string[]; statusPort: number }
  return {
    peer: ready.peer,
    address: ready.addresses[0] as string,
    statusPort: ready.statusPort,
    log,
    kill: async signal => {
      child.kill(signal)
      return ((await exited) as [number | null])[0]
    },
  }
}
