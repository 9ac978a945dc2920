import { readFile } from 'node:fs/promises'
import { join } from 'node:path'
import type { AoEnvironment, AoMessage, AoResult, Tag } from '../../deploy/ao-units/ao-message.ts'
import { type ProcessSnapshot, ResidentProcess } from '../../deploy/ao-units/compute/resident-process.ts'
import { AOS_MODULE_ID, ensureAosModule } from '../../deploy/setup/aos-module.mjs'

type AosTags = Readonly<Record<string, string>> | readonly Tag[]

/** A message as a test writes it; what is left out gets the next deterministic value. Times in ms. */
interface AosInput {
  readonly from?: string
  /** The signer; differs from `from` when a process speaks through its authority. */
  readonly owner?: string
  readonly id?: string
  /** Differs from the process id only for an assignment. */
  readonly target?: string
  readonly tags?: AosTags
  readonly data?: string
  readonly anchor?: string
  readonly timestamp?: number
  readonly height?: number
  readonly nonce?: number
  readonly hashChain?: string
  readonly cron?: boolean
}

export interface AosSpawn {
  readonly id: string
  readonly owner: string
  readonly tags?: AosTags
  /** Lua evaluated by aos when the process is spawned, through the tag `On-Boot: Data`. */
  readonly data?: string
  /** Lua that the owner evaluates next, at the same time. */
  readonly code?: string
  readonly timestamp?: number
  readonly height?: number
}

export interface AosTestProcess {
  readonly id: string
  readonly owner: string
  /** What the spawn message gave. */
  readonly booted: AoResult
  /** What `code` gave. */
  readonly loaded: AoResult | undefined
  handle(input: AosInput): Promise<AoResult>
  /** Evaluates Lua as the owner and returns the printed value; throws what Lua threw. */
  eval(code: string): Promise<string>
  dryRun(input: AosInput): Promise<AoResult>
}

/** First network time of a test, so that no test depends on the clock. */
const FIRST_TIMESTAMP = 1_700_000_000_000
const FIRST_HEIGHT = 1_600_000

const CACHE_DIR = join(import.meta.dirname, '../../.cache/aos')

let compiled: Promise<WebAssembly.Module> | undefined

/** A process as its first messages left it. */
interface Start extends Pick<AosTestProcess, 'booted' | 'loaded'> {
  /** None when it did not boot. */
  readonly snapshot: ProcessSnapshot | undefined
}

/** The last start of each process: most tests of a file begin with equal ones, and going on from one takes half the time. */
const starts = new Map<string, { readonly of: string; readonly start: Promise<Start> }>()

/** The real aos module, in this process and without HTTP; a result with `Error` has changed nothing. */
export async function loadAos(): Promise<{ spawn(options: AosSpawn): Promise<AosTestProcess> }> {
  compiled ??= ensureAosModule(CACHE_DIR)
    .then(path => readFile(path))
    .then(bytes => WebAssembly.compile(bytes))
  return runnerOf(await compiled)
}

const tagList = (tags: AosTags = {}): Tag[] =>
  Array.isArray(tags) ? [...tags] : Object.entries(tags).map(([name, value]) => ({ name, value }))

/** A readable 43-character id, unique within a process under test. */
const idOf = (kind: string, number: number): string => `${kind}-${String(number)}`.padEnd(43, '_')

function startOf(
  module: WebAssembly.Module,
  environment: AoEnvironment,
  messages: readonly AoMessage[],
): Promise<Start> {
  const { Id: id } = environment.Process
  const of = JSON.stringify([environment, messages])
  const known = starts.get(id)
  if (known?.of === of) return known.start
  const start = ResidentProcess.start(module, environment).then(async resident => {
    const results: AoResult[] = []
    for (const message of messages) results.push(await resident.evaluate(message))
    const [booted, loaded] = results as [AoResult, ...AoResult[]]
    return { snapshot: booted.Error === undefined ? resident.snapshot() : undefined, booted, loaded }
  })
  starts.set(id, { of, start })
  return start
}

function runnerOf(module: WebAssembly.Module) {
  return {
    async spawn(options: AosSpawn): Promise<AosTestProcess> {
      const { id, owner } = options
      const processTags = [
        { name: 'Data-Protocol', value: 'ao' },
        { name: 'Variant', value: 'ao.TN.1' },
        { name: 'Type', value: 'Process' },
        { name: 'Module', value: AOS_MODULE_ID },
        ...tagList(options.tags),
      ]
      const environment = {
        Process: { Id: id, Owner: owner, Tags: processTags },
        Module: { Id: AOS_MODULE_ID, Owner: owner, Tags: [] },
      }
      let slot = 0
      let clock = options.timestamp ?? FIRST_TIMESTAMP
      let height = options.height ?? FIRST_HEIGHT

      const messageOf = (input: AosInput, tags: readonly Tag[]): AoMessage => {
        const from = input.from ?? owner
        clock = input.timestamp ?? clock + 1
        height = input.height ?? height
        const nonce = input.nonce ?? slot
        return {
          Id: input.id ?? idOf('message', slot),
          Target: input.target ?? id,
          Owner: input.owner ?? from,
          From: from,
          ...(input.owner && input.owner !== from ? { 'Forwarded-By': input.owner } : {}),
          ...(input.anchor ? { Anchor: input.anchor } : {}),
          Data: input.data ?? '',
          Tags: tags.filter(tag => !['From', 'Owner'].includes(tag.name)),
          Epoch: 0,
          Nonce: nonce,
          Timestamp: clock,
          'Block-Height': height,
          'Hash-Chain': input.hashChain ?? idOf('chain', slot),
          Module: AOS_MODULE_ID,
          Cron: input.cron ?? false,
        }
      }
      const withProtocol = (input: AosInput): Tag[] => {
        const given = tagList(input.tags)
        const standard = {
          'Data-Protocol': 'ao',
          Variant: 'ao.TN.1',
          Type: 'Message',
        }
        const missing = tagList(standard).filter(({ name }) => !given.some(tag => tag.name === name))
        return [...missing, ...given]
      }
      const next = (input: AosInput, tags = withProtocol(input)): AoMessage => {
        const message = messageOf(input, tags)
        slot++
        return message
      }
      const first = { id, timestamp: clock, ...(options.data ? { data: options.data } : {}) }
      const messages = [next(first, processTags)]
      if (options.code !== undefined)
        messages.push(next({ tags: { Action: 'Eval' }, data: options.code, timestamp: clock }))
      const { snapshot, booted, loaded } = await startOf(module, environment, messages)
      const resident = await ResidentProcess.start(module, environment, snapshot)
      const handle = (input: AosInput): Promise<AoResult> => resident.evaluate(next(input))
      return {
        id,
        owner,
        booted,
        loaded,
        handle,
        eval: async code => {
          const result = await handle({ tags: { Action: 'Eval' }, data: code })
          if (result.Error !== undefined) throw new Error(result.Error)
          return (result.Output as { data: string }).data
        },
        dryRun: input => resident.dryRun(messageOf(input, withProtocol(input))),
      }
    },
  }
}
