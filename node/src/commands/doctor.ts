import { existsSync } from 'node:fs'
import { statfs } from 'node:fs/promises'
import { createServer } from 'node:net'
import { freemem, totalmem } from 'node:os'
import { dirname, join, resolve } from 'node:path'
import { ApusError, errorCode } from '@apus/shared/kit'
import { Command } from 'commander'
import { checkCpu, usualThreads } from '../engine/cpu/cpu-engine.ts'
import { type Home, readNodeKey, readSettings, readWallet } from '../home/home.ts'
import { lockHome } from '../home/lock.ts'
import type { EngineName, Settings } from '../home/settings.ts'
import { ModelStore } from '../models/store/model-store.ts'
import { type Console, homeOf } from './console.ts'
import { checkGraphicsDevice } from './graphics-check.ts'

/** What a check found: `note` hinders nothing, `fault` keeps a miner from working. */
export interface Finding {
  readonly name: string
  readonly state: 'good' | 'note' | 'fault'
  readonly detail: string
  /** What to do about it. */
  readonly fix?: string
}

/** TypeScript runs without a build from here on. */
const NODE_NEEDED = [22, 18] as const
/** Free disk below which the journal is soon in danger, and below which an import hardly succeeds; bytes. */
const DISK_FAULT = 200e6
const DISK_NOTE = 5e9
/** Beside the weights: keys and values, the process itself; bytes. */
const MEMORY_BESIDES = 600e6
/** AO's clock sets every deadline; the shortest last a minute. Milliseconds. */
const SKEW_FAULT_MS = 20_000
const SKEW_NOTE_MS = 3_000
const ASK_TIMEOUT_MS = 5_000

/** `doctor`: whether this computer and this home can mine; every fault with what to do about it. */
export const doctorCommand = (io: Console): Command =>
  new Command('doctor')
    .description('check this computer and the settings; every fault comes with its fix')
    .option('--json', 'print one JSON array')
    .action(async ({ json }: { json?: boolean }, command: Command) => {
      const findings = await diagnose(homeOf(command, io), finding => {
        if (!json) for (const line of linesOf(finding)) io.print(line)
      })
      if (json) io.print(JSON.stringify(findings))
      const faults = findings.filter(({ state }) => state === 'fault')
      if (faults.length > 0)
        throw new ApusError('doctor-faults', `Faults that keep a miner from working: ${faults.length}.`)
      if (json) return
      const ready = findings.some(({ name }) => name === 'identity')
      io.print(ready ? 'No faults: "apus-node start" can mine.' : 'No faults: this computer can mine.')
    })

function linesOf({ name, state, detail, fix }: Finding): string[] {
  const mark = state === 'good' ? 'ok   ' : state === 'note' ? 'note ' : 'FAULT'
  return [
    `${mark}  ${name.padEnd(9)} ${detail}`,
    ...(fix === undefined ? [] : [`       ${' '.repeat(9)} → ${fix}`]),
  ]
}

/** Makes all checks in turn and tells of each as soon as it is made. */
export async function diagnose(home: Home, tell: (finding: Finding) => void): Promise<Finding[]> {
  const findings: Finding[] = []
  const add = (finding: Finding): void => {
    findings.push(finding)
    tell(finding)
  }
  add(checkNode(process.versions.node))
  add(await checkProcessor())
  add(await checkGraphics())
  add(await checkDisk(home.path))
  add(await checkMemory(join(home.path, 'models')))
  const settings = await readSettings(home).catch(error => error as unknown)
  if (!isSettings(settings)) {
    add(settingsFinding(settings))
    return findings
  }
  add({ name: 'settings', state: 'good', detail: `read from ${home.path}` })
  add(await checkIdentity(home, settings))
  for (const { path, engine } of settings.models) add(await checkModel(resolve(home.path, path), engine))
  if (settings.models.length === 0)
    add({
      name: 'model',
      state: 'fault',
      detail: 'no model is set',
      fix: `run "apus-node models import <file.gguf>", then write "models": [{"path": "models/<its root>"}] in ${join(home.path, 'config.json')}`,
    })
  add(await checkClock(settings))
  const running = await isRunning(home)
  for (const port of portsOf(settings)) add(await checkPort(port, running))
  return findings
}

const isSettings = (value: unknown): value is Settings =>
  typeof value === 'object' && !(value instanceof Error)

export function checkNode(version: string): Finding {
  const [major = 0, minor = 0] = version.split('.').map(Number)
  const [neededMajor, neededMinor] = NODE_NEEDED
  const enough = major > neededMajor || (major === neededMajor && minor >= neededMinor)
  if (enough) return { name: 'node', state: 'good', detail: version }
  return {
    name: 'node',
    state: 'fault',
    detail: version,
    fix: `install Node ${neededMajor}.${neededMinor} or newer`,
  }
}

async function checkProcessor(): Promise<Finding> {
  const threads = usualThreads()
  try {
    await checkCpu(threads)
    return {
      name: 'processor',
      state: 'good',
      detail: `gives the known answers, ${threads} thread(s) for a model`,
    }
  } catch (error) {
    return {
      name: 'processor',
      state: 'fault',
      detail: messageOf(error),
      fix:
        errorCode(error) === 'cpu-unsupported'
          ? 'use a newer processor, or show the virtual machine the features of its host'
          : 'use a released version of Node',
    }
  }
}

async function checkGraphics(): Promise<Finding> {
  const name = 'graphics'
  try {
    const { vendor, device, description, software, largestBuffer, largestBinding } =
      await checkGraphicsDevice()
    const limits = `buffers to ${megabytes(largestBuffer)}, bound to ${megabytes(largestBinding)}`
    const detail = `${description || `${vendor} ${device}`}: gives the known answers; ${limits}`
    if (!software) return { name, state: 'good', detail }
    return { name, state: 'note', detail, fix: 'this driver computes on the processor: use the engine "cpu"' }
  } catch (error) {
    const missing = errorCode(error) === 'gpu-missing'
    return {
      name,
      state: 'note',
      detail: missing ? 'no usable Vulkan adapter' : messageOf(error),
      fix: missing
        ? 'nothing to do without a graphics card: the engine "cpu" needs none; for a card install its Vulkan driver'
        : 'update the graphics driver, or use the engine "cpu"',
    }
  }
}

async function checkDisk(path: string): Promise<Finding> {
  let folder = path
  while (!existsSync(folder) && dirname(folder) !== folder) folder = dirname(folder)
  const { bavail, bsize } = await statfs(folder)
  return diskFinding(folder, bavail * bsize)
}

export function diskFinding(folder: string, free: number): Finding {
  const detail = `${megabytes(free)} free at ${folder}`
  if (free >= DISK_NOTE) return { name: 'disk', state: 'good', detail }
  const state = free < DISK_FAULT ? 'fault' : 'note'
  return { name: 'disk', state, detail, fix: 'free some space or set APUS_HOME to another disk' }
}

async function checkMemory(models: string): Promise<Finding> {
  const largest = Math.max(0, ...(await new ModelStore(models).list()).map(({ bytes }) => bytes))
  return memoryFinding(totalmem(), freemem(), largest)
}

export function memoryFinding(total: number, free: number, largest: number): Finding {
  const needed = largest + MEMORY_BESIDES
  const detail = `${megabytes(free)} of ${megabytes(total)} free, ${megabytes(needed)} needed${largest > 0 ? ' for the largest model' : ' beside a model'}`
  if (free >= needed) return { name: 'memory', state: 'good', detail }
  return {
    name: 'memory',
    state: total < needed ? 'fault' : 'note',
    detail,
    fix: 'end other programs, or serve a smaller model',
  }
}

function settingsFinding(error: unknown): Finding {
  const missing = errorCode(error) === 'home-missing'
  return {
    name: 'settings',
    state: missing ? 'note' : 'fault',
    detail: messageOf(error),
    fix: missing ? 'run "apus-node init" to mine' : 'correct config.json',
  }
}

async function checkIdentity(home: Home, settings: Settings): Promise<Finding> {
  try {
    const wallet = await readWallet(home, settings)
    const key = await readNodeKey(home)
    return { name: 'identity', state: 'good', detail: `wallet ${wallet.address}, peer ${key.peer}` }
  } catch (error) {
    return {
      name: 'identity',
      state: 'fault',
      detail: messageOf(error),
      fix: 'restore it from your backup: "apus-node init --restore <file>"',
    }
  }
}

async function checkModel(path: string, engine: EngineName): Promise<Finding> {
  const name = 'model'
  if (!existsSync(path))
    return {
      name,
      state: 'fault',
      detail: `${path} does not exist`,
      fix: 'import the model or correct config.json',
    }
  if (path.endsWith('.gguf')) {
    if (engine === 'llama-cpp') return { name, state: 'good', detail: `${path} on llama.cpp` }
    return {
      name,
      state: 'fault',
      detail: `${path} is a GGUF file, and the engine "${engine}" runs bundles`,
      fix: 'name the folder that "apus-node models import" made of it, or set its engine to "llama-cpp"',
    }
  }
  try {
    const { BundleFile } = await import('../models/store/bundle-file.ts')
    const bundle = await BundleFile.open(path)
    await bundle.close()
    return { name, state: 'good', detail: `${bundle.root}, ${megabytes(bundle.bytes)}` }
  } catch (error) {
    return {
      name,
      state: 'fault',
      detail: messageOf(error),
      fix: 'remove the folder and import the model again',
    }
  }
}

async function checkClock({ ao }: Settings): Promise<Finding> {
  const address = ao.mode === 'legacy' ? ao.cuUrl : ao.url
  const sent = Date.now()
  try {
    const response = await fetch(address, { signal: AbortSignal.timeout(ASK_TIMEOUT_MS) })
    await response.body?.cancel()
    const received = Date.now()
    const told = Date.parse(response.headers.get('date') ?? '')
    if (Number.isNaN(told))
      return { name: 'clock', state: 'note', detail: `${address} does not tell the time` }
    return clockFinding(told + 500 - (sent + received) / 2, address)
  } catch (error) {
    return {
      name: 'ao',
      state: 'fault',
      detail: `${address} cannot be reached: ${messageOf(error)}`,
      fix: 'check the connection and the addresses under "ao" in config.json',
    }
  }
}

/** `ahead` is how far AO's clock is before ours, milliseconds; its header counts whole seconds. */
export function clockFinding(ahead: number, address: string): Finding {
  const detail = `${(Math.abs(ahead) / 1000).toFixed(1)} s ${ahead > 0 ? 'behind' : 'ahead of'} ${address}`
  if (Math.abs(ahead) < SKEW_NOTE_MS) return { name: 'clock', state: 'good', detail }
  return {
    name: 'clock',
    state: Math.abs(ahead) < SKEW_FAULT_MS ? 'note' : 'fault',
    detail,
    fix: 'let the system keep its clock: "timedatectl set-ntp true"',
  }
}

interface Port {
  readonly host: string
  readonly port: number
  readonly setting: string
}

/** TCP ports that a miner with these settings opens; 0 is any free one. */
export function portsOf({ statusPort, peers }: Settings): Port[] {
  const ports: Port[] = []
  if (statusPort) ports.push({ host: '127.0.0.1', port: statusPort, setting: 'statusPort' })
  for (const address of peers.listen) {
    const [, , host = '', protocol, port] = address.split('/')
    if (protocol === 'tcp' && Number(port) > 0)
      ports.push({ host, port: Number(port), setting: 'peers.listen' })
  }
  return ports
}

async function checkPort({ host, port, setting }: Port, running: boolean): Promise<Finding> {
  const name = 'port'
  const code = await bindingError(host, port)
  if (code === undefined) return { name, state: 'good', detail: `${host}:${port} is free` }
  if (code === 'EADDRINUSE' && running)
    return { name, state: 'good', detail: `${host}:${port} is in use, and a miner runs with this home` }
  return {
    name,
    state: 'fault',
    detail: `${host}:${port} cannot be opened (${code})`,
    fix: `end the program that has it, or change ${setting} in config.json`,
  }
}

function bindingError(host: string, port: number): Promise<string | undefined> {
  return new Promise(resolve => {
    const server = createServer()
    server.once('error', (error: NodeJS.ErrnoException) => resolve(error.code ?? 'unknown'))
    server.listen(port, host, () => server.close(() => resolve(undefined)))
  })
}

async function isRunning(home: Home): Promise<boolean> {
  try {
    const unlock = await lockHome(home)
    await unlock()
    return false
  } catch (error) {
    if (errorCode(error) === 'already-running') return true
    throw error
  }
}

const messageOf = (error: unknown): string => (error instanceof Error ? error.message : String(error))

const megabytes = (bytes: number): string =>
  bytes >= 1e9 ? `${(bytes / 1e9).toFixed(1)} GB` : `${Math.round(bytes / 1e6)} MB`
