#!/usr/bin/env node
import { homedir } from 'node:os'
import { join } from 'node:path'
import { Command } from 'commander'
import { allowDashedIds } from '../src/kit/dashed-ids.ts'
import { describeError } from '../src/kit/errors.ts'
import { balanceCommand } from './commands/balance.ts'
import { inferCommand } from './commands/infer.ts'
import { proveCommand } from './commands/prove.ts'
import { statusCommand } from './commands/status.ts'
import { transferCommand } from './commands/transfer.ts'
import { verifyCommand } from './commands/verify.ts'

const HOME = process.env.APUS_HOME ?? join(homedir(), '.apus')

const program = new Command('apus')
  .description('Ask the APUS network, and see what it did.')
  .option('--network <file>', 'where the network is', process.env.APUS_NETWORK ?? join(HOME, 'network.json'))
  .option('--wallet <file>', 'Arweave wallet that pays', process.env.APUS_WALLET ?? join(HOME, 'wallet.json'))
  .option('--json', 'print JSON')
for (const command of [
  inferCommand,
  statusCommand,
  proveCommand,
  verifyCommand,
  transferCommand,
  balanceCommand,
])
  program.addCommand(command())

allowDashedIds(program, process.argv)
try {
  await program.parseAsync()
} catch (error) {
  console.error(describeError(error))
  process.exitCode = 1
}
