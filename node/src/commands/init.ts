import { readFile } from 'node:fs/promises'
import { resolve } from 'node:path'
import { loadWallet } from '@apus/shared/arweave'
import { ApusError } from '@apus/shared/kit'
import { readNetworkFile } from '@apus/shared/network'
import { Command } from 'commander'
import { readBackup } from '../home/backup.ts'
import { createHome, keepNodeKey, keepWallet, writeSettings } from '../home/home.ts'
import { type Console, homeOf, passphraseOf } from './console.ts'

interface Options {
  readonly network?: string
  readonly wallet?: string
  readonly model: readonly string[]
  readonly bootstrap: readonly string[]
  readonly restore?: string
  readonly passphraseFile?: string
}

const collect = (value: string, before: readonly string[]) => [...before, value]

/** `init`: makes the home, with a new identity or one from a wallet file or a backup. */
export const initCommand = (io: Console): Command =>
  new Command('init')
    .description('make a home: settings, wallet and node key')
    .option('--network <file>', 'the network file: its processes, AO and first peers')
    .option('--wallet <file>', 'use this Arweave wallet instead of a new one')
    .option('--model <path>', 'a model to serve; may be given several times', collect, [])
    .option('--bootstrap <multiaddr>', 'a peer to start from; may be given several times', collect, [])
    .option('--restore <file>', 'take wallet, node key and settings from a backup')
    .option('--passphrase-file <file>', 'passphrase of the backup (or APUS_PASSPHRASE)')
    .action(async (options: Options, command: Command) => {
      const home = homeOf(command, io)
      const backup =
        options.restore === undefined
          ? undefined
          : await readBackup(options.restore, await passphraseOf(options.passphraseFile, io))
      const given = options.wallet === undefined ? undefined : await loadWallet(options.wallet)
      if (backup !== undefined && given !== undefined && backup.wallet.address !== given.address)
        throw new ApusError('wallet-differs', 'The wallet file is not the wallet of the backup.')
      if (options.network === undefined && backup === undefined)
        throw new ApusError(
          'network-missing',
          'Name the network with --network <file>; who runs it publishes that file.',
        )
      const base = { ...backup?.settings, ...(await networkSettings(options.network)) }
      await createHome(home)
      const settings = await writeSettings(home, withOptions(base, options))
      const wallet = await keepWallet(home, settings, backup?.wallet ?? given)
      const key = await keepNodeKey(home, backup?.nodeKey)
      io.print(`home     ${home.path}`)
      io.print(`wallet   ${wallet.address}`)
      io.print(`peer     ${key.peer}`)
      io.print(
        'Next: send APUS to the wallet, then run "apus-node register --stake <APUS>" and "apus-node start".',
      )
    })

/** Settings out of a network file; what else a file holds is taken as settings of the miner. */
async function networkSettings(path: string | undefined): Promise<Record<string, unknown>> {
  if (path === undefined) return {}
  const network = await readNetworkFile(path)
  const { defaultModel: _, bootstrap = [], peers, ...settings } = JSON.parse(await readFile(path, 'utf8'))
  return { ...settings, ao: network.ao, peers: { bootstrap, ...peers } }
}

/** A bundle's folder runs on the integer machine, a GGUF file as it is on llama.cpp. */
const modelAt = (path: string) =>
  path.endsWith('.gguf') ? { path: resolve(path), engine: 'llama-cpp' } : { path: resolve(path) }

function withOptions(base: Record<string, unknown>, { model, bootstrap }: Options): Record<string, unknown> {
  const values = { ...base }
  if (model.length > 0) values.models = model.map(modelAt)
  if (bootstrap.length > 0) values.peers = { ...(base.peers as object | undefined), bootstrap }
  return values
}
