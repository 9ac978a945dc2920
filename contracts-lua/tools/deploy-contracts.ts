import type { AoClient } from '@apus/shared/ao'
import { ApusError } from '@apus/shared/kit'
import { type ProcessId, processId } from '@apus/shared/protocol'
import { bundle, type LuaValue, UNSIGNABLE_OWNER } from './bundle.ts'

export interface DeployOptions {
  /** A token that exists already; without one the token contract is deployed. */
  readonly token?: string
  /** First holders of a new token, in units; together exactly 10^21. */
  readonly balances?: Readonly<Record<string, string>>
  /** Overrides of contracts-lua/src/state/parameters.lua. */
  readonly parameters?: Readonly<Record<string, LuaValue>>
}

export interface Deployment {
  readonly token: ProcessId
  readonly network: ProcessId
  /** SHA-256 of all Lua in each process, as its `Info` shows it. */
  readonly codeHashes: { readonly token?: string; readonly network: string }
}

type Ao = Pick<AoClient, 'spawn' | 'sendAndWait'>

/**
 * Spawns the processes, loads their code in one Eval each, after which nobody owns them, and checks both facts.
 * Errors: those of the AO client, `deploy-failed`.
 */
export async function deployContracts(ao: Ao, options: DeployOptions = {}): Promise<Deployment> {
  const token = options.token
    ? { id: processId.parse(options.token) }
    : await deploy(ao, 'token', { balances: options.balances ?? {} })
  const network = await deploy(ao, 'network', { token: token.id, parameters: options.parameters ?? {} })
  const codeHashes = 'codeHash' in token ? { token: token.codeHash } : {}
  return { token: token.id, network: network.id, codeHashes: { ...codeHashes, network: network.codeHash } }
}

async function deploy(
  ao: Ao,
  entry: 'token' | 'network',
  config: Readonly<Record<string, LuaValue>>,
): Promise<{ id: ProcessId; codeHash: string }> {
  const { source, codeHash } = await bundle(entry, config)
  const id = processId.parse(await ao.spawn({ tags: [{ name: 'Name', value: `apus-${entry}` }] }))
  await ao.sendAndWait({ process: id, tags: [{ name: 'Action', value: 'Eval' }], data: source })
  const info = await infoOf(ao, id)
  if (info.get('Code-Hash') !== codeHash || info.get('Owner-Text') !== UNSIGNABLE_OWNER)
    throw new ApusError('deploy-failed', `The ${entry} process ${id} does not run the code that was sent.`)
  return { id, codeHash }
}

/** Whether a network process runs the contracts that lie here. */
export async function runsTheseContracts(ao: Pick<Ao, 'sendAndWait'>, network: ProcessId): Promise<boolean> {
  const { codeHash } = await bundle('network', {})
  return (await infoOf(ao, network)).get('Code-Hash') === codeHash
}

async function infoOf(ao: Pick<Ao, 'sendAndWait'>, process: ProcessId): Promise<Map<string, string>> {
  const info = await ao.sendAndWait({ process, tags: [{ name: 'Action', value: 'Info' }] })
  const answer = info.messages.find(m => m.Tags.some(t => t.name === 'Action' && t.value === 'Info-Response'))
  return new Map(answer?.Tags.map(({ name, value }) => [name, String(value)]))
}
