import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { createInterface } from 'node:readline'
import { type AoClient, type AoConfig, connectAo } from '@apus/shared/ao'
import { createWallet, type Wallet } from '@apus/shared/arweave'
import { type AoUnits, type AoUnitsOptions, startAoUnits } from '../../deploy/ao-units/start-ao-units.ts'
import { ensureAosModule } from '../../deploy/setup/aos-module.mjs'

export type UnitsAddress = Pick<AoUnits, 'urls' | 'authority' | 'scheduler' | 'moduleId'>
export type AoMode = AoClient['mode']

const MAIN = join(import.meta.dirname, '../../deploy/ao-units/main.ts')
const CACHE_DIR = join(import.meta.dirname, '../../.cache/aos')

/** Path of the checked aos module. */
const aosModulePath = (): Promise<string> => ensureAosModule(CACHE_DIR)

export const temporaryDirectory = (): Promise<string> => mkdtemp(join(tmpdir(), 'apus-ao-'))

/** Units in this process with a directory of their own, both gone after `close`. */
export async function startTestUnits(options: Partial<AoUnitsOptions> = {}): Promise<AoUnits> {
  const dir = options.dir ?? (await temporaryDirectory())
  const units = await startAoUnits({ dir, port: 0, module: await aosModulePath(), ...options })
  return {
    ...units,
    close: async () => {
      await units.close()
      if (options.dir === undefined) await rm(dir, { recursive: true })
    },
  }
}

export function aoConfig(mode: AoMode, { urls, scheduler, authority, moduleId }: UnitsAddress): AoConfig {
  const common = { scheduler, authority, module: moduleId }
  return mode === 'mainnet'
    ? { mode, url: urls.base, ...common }
    : {
        mode,
        muUrl: urls.mu,
        cuUrl: urls.cu,
        graphqlUrl: urls.graphql,
        stateUrl: urls.base,
        suUrl: urls.su,
        ...common,
      }
}

let shared: Promise<Wallet> | undefined

/** One wallet for tests that do not care which; making one takes about a second. */
export function testWallet(): Promise<Wallet> {
  shared ??= createWallet()
  return shared
}

export async function testClient(mode: AoMode, units: UnitsAddress, wallet?: Wallet): Promise<AoClient> {
  return connectAo(aoConfig(mode, units), wallet ?? (await testWallet()))
}

/** Evaluates Lua as the owner of a process. */
export const evalLua = (client: AoClient, process: string, code: string) =>
  client.sendAndWait({ process, tags: [{ name: 'Action', value: 'Eval' }], data: code })

/** What the last expression of evaluated Lua printed. */
export async function luaValue(client: AoClient, process: string, code: string): Promise<string> {
  const { output } = await evalLua(client, process, code)
  return (output as { data: string }).data
}

export interface UnitsChild extends UnitsAddress {
  readonly pid: number
  /** Ends it as a power cut would. */
  kill(): Promise<void>
  /** Asks it to stop and waits. */
  stop(): Promise<number | null>
}

/** Units as a process of their own. */
export async function spawnUnits(dir: string, port = 0): Promise<UnitsChild> {
  const module = await aosModulePath()
  const child = spawn(process.execPath, [MAIN, '--dir', dir, '--port', String(port), '--module', module], {
    stdio: ['ignore', 'pipe', 'inherit'],
  })
  process.once('exit', () => child.kill('SIGKILL'))
  const exited = once(child, 'exit')
  const [line] = (await Promise.race([
    once(createInterface(child.stdout), 'line'),
    exited.then(([code]) => Promise.reject(new Error(`The AO units ended with ${code}.`))),
  ])) as [string]
  const end = async (signal: NodeJS.Signals): Promise<number | null> => {
    child.kill(signal)
    return ((await exited) as [number | null])[0]
  }
  return {
    ...(JSON.parse(line) as UnitsAddress & { pid: number }),
    kill: async () => void (await end('SIGKILL')),
    stop: () => end('SIGTERM'),
  }
}
