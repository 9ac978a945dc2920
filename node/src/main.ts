#!/usr/bin/env node
import { allowDashedIds, describeError } from '@apus/shared/kit'
import { Command } from 'commander'
import { backupCommand } from './commands/backup.ts'
import { benchCommand } from './commands/bench.ts'
import type { Console } from './commands/console.ts'
import { doctorCommand } from './commands/doctor.ts'
import { initCommand } from './commands/init.ts'
import { modelsCommand } from './commands/models.ts'
import { registerCommand } from './commands/register.ts'
import { startCommand } from './commands/start.ts'
import { statusCommand } from './commands/status.ts'
import { unstakeCommand, withdrawCommand } from './commands/unstake.ts'

const io: Console = { env: process.env, print: line => console.log(line) }

const program = new Command('apus-node')
  .description('a miner of the APUS network')
  .option('--home <folder>', 'where settings, keys and journal are (default: APUS_HOME or ~/.apus)')
for (const command of [
  initCommand,
  registerCommand,
  startCommand,
  statusCommand,
  unstakeCommand,
  withdrawCommand,
  backupCommand,
  modelsCommand,
  benchCommand,
  doctorCommand,
])
  program.addCommand(command(io))

allowDashedIds(program, process.argv)
try {
  await program.parseAsync()
  process.exit(0)
} catch (error) {
  console.error(describeError(error))
  process.exit(1)
}
