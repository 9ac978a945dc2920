import { once } from 'node:events'
import { createLogger } from '@apus/shared/kit'
import { Command } from 'commander'
import { type Home, readSettings } from '../home/home.ts'
import { lockHome } from '../home/lock.ts'
import { Engines } from '../miner/engines.ts'
import type { MinerParts } from '../miner/miner.ts'
import { openMiner } from '../miner/open-miner.ts'
import { type Console, homeOf } from './console.ts'

/** `start`: mines until SIGINT or SIGTERM; a second signal stops at once. */
export const startCommand = (io: Console): Command =>
  new Command('start').description('mine until stopped').action(async (_options, command: Command) => {
    const engines = new Engines()
    await mine(io, homeOf(command, io), engines).finally(() => engines.close())
  })

/** Mines with a home until a signal. `change` may replace parts of the miner. */
export async function mine(
  io: Console,
  home: Home,
  engines: Engines,
  change?: (parts: MinerParts) => MinerParts,
): Promise<void> {
  const settings = await readSettings(home)
  const log = createLogger({ name: 'miner', level: settings.log })
  const unlock = await lockHome(home)
  try {
    const miner = await openMiner(home, settings, log, engines, change)
    const { peer, addresses, models } = miner.status()
    // Before it says that it is ready: whoever reads that may stop it at once.
    const told = signalled()
    io.print(JSON.stringify({ ready: true, peer, addresses, models, statusPort: miner.statusPort }))
    await told
    io.print(`Stopping; seats in hand: ${miner.status().owed}. Send the signal again to stop at once.`)
    const stopped = miner.stop(settings.stopGraceSeconds * 1000)
    await Promise.race([stopped, signalled().then(() => process.exit(1))])
    io.print('Stopped.')
  } finally {
    await unlock()
  }
}

const signalled = (): Promise<unknown> => Promise.race([once(process, 'SIGINT'), once(process, 'SIGTERM')])
