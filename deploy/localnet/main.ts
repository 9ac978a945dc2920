import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join, resolve } from 'node:path'
import { describeError } from '@apus/shared/kit'
import { Command } from 'commander'
import { Progress } from '../setup/progress.mjs'
import { findSoftwareGpus } from '../setup/software-gpu.mjs'
import { demonstrate, roleOf } from './demonstration/demonstration.ts'
import { summary } from './demonstration/summary.ts'
import { DEMONSTRATION_MINERS, startLocalNetwork } from './network.ts'
import { shellWord } from './shell-word.ts'

const ROOT = join(import.meta.dirname, '..', '..')

const options = new Command('npm start --')
  .description('A whole APUS network on this machine; it answers two questions and stays up until Ctrl-C.')
  .option('--once', 'end after the demonstration')
  .option('--json', 'make the last line of output one JSON object')
  .option('--dir <folder>', 'where the network is kept', join(ROOT, '.localnet'))
  .parse()
  .opts<{ once?: boolean; json?: boolean; dir: string }>()

const startedAt = Date.now()
const progress = new Progress(process.stderr)
const interrupted = new Promise<void>(resolve => {
  process.once('SIGINT', () => resolve())
  process.once('SIGTERM', () => resolve())
})

const [gpu] = await findSoftwareGpus(join(ROOT, '.cache', 'gpu'))
/** A network that ends after the demonstration leaves nothing behind. */
const dir = options.once ? await mkdtemp(join(tmpdir(), 'apus-localnet-')) : resolve(options.dir)

try {
  const network = await progress.step('network', report =>
    startLocalNetwork({
      dir,
      wallets: join(ROOT, '.cache', 'wallets'),
      miners: DEMONSTRATION_MINERS,
      gpu,
      report,
    }),
  )
  for (const lack of network.lacks) progress.lack(lack)
  try {
    const result = await Promise.race([
      progress.step('demonstration', report => demonstrate(network, startedAt, report)),
      interrupted,
    ])
    if (result) {
      console.log(summary(result, miner => roleOf(network, miner)))
      if (!options.once) {
        console.log(`The network is up. Ask it something from another terminal:

  export APUS_NETWORK=${shellWord(join(dir, 'network.json'))} APUS_WALLET=${shellWord(join(ROOT, '.cache', 'wallets', 'requester.json'))}
  npx apus infer "What is a volcano?"

Ctrl-C stops it.`)
        await interrupted
      }
      if (options.json) {
        const { job: _, process: __, fault, ...facts } = result
        console.log(JSON.stringify({ ...facts, faultProven: fault !== undefined }))
      }
      if (!result.conserved || result.liarPaid) process.exitCode = 1
    }
  } finally {
    await progress.step('stopping', () => network.stop())
  }
  if (options.once) await rm(dir, { recursive: true, force: true })
} catch (error) {
  progress.fail(`${describeError(error)}\nLogs are in ${join(dir, 'logs')}.`)
  process.exitCode = 1
}
