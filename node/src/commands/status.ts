import { formatApus } from '@apus/shared/protocol'
import { Command } from 'commander'
import { z } from 'zod'
import { readSettings } from '../home/home.ts'
import { openAccount } from '../miner/open-miner.ts'
import { type Console, homeOf } from './console.ts'

const LIVE_TIMEOUT_MS = 2_000

const liveSchema = z.looseObject({
  peer: z.string(),
  peers: z.int(),
  running: z.int(),
  waiting: z.int(),
  owed: z.int(),
  journalFull: z.boolean(),
})

/** `status`: what AO knows of this miner, and what the running one says of itself. */
export const statusCommand = (io: Console): Command =>
  new Command('status')
    .description('stake, earnings, jobs and peers')
    .option('--json', 'print one JSON object')
    .action(async ({ json }: { json?: boolean }, command: Command) => {
      const home = homeOf(command, io)
      const settings = await readSettings(home)
      const { me, network } = await openAccount(home, settings)
      const [miner, account, balance, live] = await Promise.all([
        network.miner(me),
        network.account(me),
        network.balance(me),
        readLive(settings.statusPort),
      ])
      if (json) {
        io.print(
          JSON.stringify({ address: me, miner, account: String(account), balance: String(balance), live }),
        )
        return
      }
      io.print(`wallet    ${me}`)
      io.print(`balance   ${formatApus(balance)} APUS, earned and not withdrawn ${formatApus(account)} APUS`)
      if (miner === undefined) io.print('network   not registered')
      else {
        const of = (units: string) => formatApus(BigInt(units))
        io.print(
          `stake     ${of(miner.stake)} APUS, locked ${of(miner.locked)}, leaving ${of(miner.unstaking)}`,
        )
        io.print(`network   ${miner.active ? 'active' : 'not drawn'}, peer ${miner.peer ?? 'none'}`)
        io.print(`record    ${miner.standing} audited jobs won, ${miner.missed} seats missed`)
        io.print(`models    ${miner.models.join(' ') || 'none'}`)
      }
      io.print(
        live === undefined
          ? 'process   not running, or its status port is not open'
          : `process   ${live.peers} peers, ${live.running} running, ${live.waiting} waiting, ${live.owed} seats owed${live.journalFull ? ', JOURNAL FULL' : ''}`,
      )
    })

async function readLive(port: number | null): Promise<z.infer<typeof liveSchema> | undefined> {
  if (port === null || port === 0) return undefined
  try {
    const response = await fetch(`http://127.0.0.1:${port}/status`, {
      signal: AbortSignal.timeout(LIVE_TIMEOUT_MS),
    })
    return liveSchema.parse(await response.json())
  } catch {
    return undefined
  }
}
