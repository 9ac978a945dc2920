import { Command } from 'commander'
import { inApus, openAccount, print } from './console.ts'

export const balanceCommand = (): Command =>
  new Command('balance')
    .description('what this wallet holds')
    .action(async (_options: unknown, command: Command) => {
      const { client, address } = await openAccount(command)
      const [wallet, account] = await Promise.all([client.balance(address), client.account(address)])
      print(command, { address, wallet: String(wallet), account: String(account) }, [
        address,
        `wallet  ${inApus(wallet)}`,
        `account ${inApus(account)}`,
      ])
    })
