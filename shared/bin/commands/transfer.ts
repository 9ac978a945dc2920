import { Command } from 'commander'
import type { Address } from '../../src/protocol/identity.ts'
import { parseAddress, parseAmount } from './arguments.ts'
import { inApus, openAccount, print } from './console.ts'

export const transferCommand = (): Command =>
  new Command('transfer')
    .description('send APUS from this wallet to an address')
    .argument('<address>', 'a wallet or process', parseAddress)
    .argument('<APUS>', 'amount', parseAmount)
    .action(async (to: Address, units: bigint, _options: unknown, command: Command) => {
      const { client } = await openAccount(command)
      await client.transfer(to, units)
      print(command, { to, units: String(units) }, [`${inApus(units)} are on their way to ${to}.`])
    })
