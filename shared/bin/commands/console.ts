import type { Command } from 'commander'
import { connectAo } from '../../src/ao/connect-ao.ts'
import { loadWallet } from '../../src/arweave/wallet.ts'
import { NetworkClient } from '../../src/network/network-client.ts'
import { NetworkFeed } from '../../src/network/network-feed.ts'
import { readNetworkFile } from '../../src/network/network-file.ts'
import type { Address } from '../../src/protocol/identity.ts'
import { formatApus } from '../../src/protocol/units.ts'

const POLL_MS = 1000

/** The options that every command of `apus` has. */
export interface CommonOptions {
  readonly network: string
  readonly wallet: string
  readonly json?: boolean
}

/** The network, for reading only. */
export async function openNetwork(command: Command) {
  const file = await readNetworkFile(command.optsWithGlobals<CommonOptions>().network)
  return { file, ao: connectAo(file.ao) }
}

/** The network as the wallet's owner uses it. */
export async function openAccount(command: Command) {
  const { network, wallet: path } = command.optsWithGlobals<CommonOptions>()
  const file = await readNetworkFile(network)
  const wallet = await loadWallet(path)
  return {
    file,
    address: wallet.address as Address,
    client: new NetworkClient(connectAo(file.ao, wallet), file),
  }
}

/** Reads what the network has published until now; `prepare` sees the feed before it starts. */
export async function readPublished<T>(
  command: Command,
  { history = false, prepare }: { readonly history?: boolean; readonly prepare: (feed: NetworkFeed) => T },
) {
  const { file, ao } = await openNetwork(command)
  const failed = Promise.withResolvers<never>()
  const feed = new NetworkFeed(ao, {
    network: file.network,
    pollMs: POLL_MS,
    history,
    onError: failed.reject,
  })
  const prepared = prepare(feed)
  await Promise.race([feed.start(), failed.promise]).finally(() => feed.stop())
  return { file, ao, feed, prepared }
}

/** Prints the value as one line of JSON where `--json` was given, else the lines for people. */
export function print(command: Command, value: unknown, lines: readonly string[]): void {
  const { json } = command.optsWithGlobals<CommonOptions>()
  for (const line of json ? [JSON.stringify(value)] : lines) console.log(line)
}

export const inApus = (units: string | bigint): string => `${formatApus(BigInt(units))} APUS`
