import { formatApus, parseApus } from '@apus/shared/protocol'
import { Command } from 'commander'
import { readSettings } from '../home/home.ts'
import { openAccount } from '../miner/open-miner.ts'
import { type Console, homeOf } from './console.ts'

/** `unstake`: asks free stake back; it reaches the account after the network's delay. */
export const unstakeCommand = (io: Console): Command =>
  new Command('unstake')
    .description('ask stake back; it reaches the account after the delay of the network')
    .argument('<APUS>', 'amount')
    .action(async (amount: string, _options, command: Command) => {
      const quantity = parseApus(amount)
      const home = homeOf(command, io)
      const { network } = await openAccount(home, await readSettings(home))
      await network.unstake(quantity)
      io.print(`${amount} APUS leave the stake; withdraw them when "apus-node status" shows them as earned.`)
    })

/** `withdraw`: moves what the account holds to the wallet. */
export const withdrawCommand = (io: Console): Command =>
  new Command('withdraw')
    .description('move earnings from the network to the wallet')
    .argument('[APUS]', 'amount; everything when absent')
    .action(async (amount: string | undefined, _options, command: Command) => {
      const home = homeOf(command, io)
      const { me, network } = await openAccount(home, await readSettings(home))
      const quantity = amount === undefined ? await network.account(me) : parseApus(amount)
      if (quantity === 0n) return io.print('There is nothing to withdraw.')
      await network.withdraw(quantity)
      io.print(`${formatApus(quantity)} APUS are on their way to ${me}.`)
    })
