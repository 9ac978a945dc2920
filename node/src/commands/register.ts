import { systemClock } from '@apus/shared/kit'
import { parseApus } from '@apus/shared/protocol'
import { Command } from 'commander'
import { readNodeKey, readSettings } from '../home/home.ts'
import { openAccount } from '../miner/open-miner.ts'
import { register } from '../work/registration.ts'
import { type Console, homeOf } from './console.ts'

/** `register`: binds wallet and node key on AO and, when asked to, stakes. */
export const registerCommand = (io: Console): Command =>
  new Command('register')
    .description('bind this wallet and node key to each other on AO, and stake')
    .option('--stake <APUS>', 'APUS to stake from the wallet')
    .action(async ({ stake }: { stake?: string }, command: Command) => {
      const quantity = stake === undefined ? 0n : parseApus(stake)
      const home = homeOf(command, io)
      const settings = await readSettings(home)
      const { me, network } = await openAccount(home, settings)
      const key = await readNodeKey(home)
      await register(network, { me, key }, systemClock.now())
      io.print(`Registered ${me} with the peer ${key.peer}.`)
      if (quantity === 0n) return
      await network.stake(quantity)
      io.print(`Sent ${stake} APUS to the stake; "apus-node status" shows when it has arrived.`)
    })
