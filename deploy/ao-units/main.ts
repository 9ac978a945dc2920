import { join } from 'node:path'
import { createLogger, describeError } from '@apus/shared/kit'
import { Command, InvalidArgumentError } from 'commander'
import { ensureAosModule } from '../setup/aos-module.mjs'
import { startAoUnits } from './start-ao-units.ts'

const CACHE_DIR = join(import.meta.dirname, '../../.cache/aos')

function port(text: string): number {
  const value = Number(text)
  if (!Number.isInteger(value) || value < 0 || value > 65_535)
    throw new InvalidArgumentError('It must be a port number.')
  return value
}

const command = new Command('ao-units')
  .description(
    'AO units for one machine: scheduler, messenger, compute unit, HyperBEAM paths and an Arweave gateway.',
  )
  .requiredOption('--dir <path>', 'where everything is kept')
  .option('--port <number>', 'port to listen on, 0 for a free one', port, 0)
  .option('--host <address>', 'address to listen on', '127.0.0.1')
  .option('--module <path>', 'the aos module; fetched when not given')
  .option('--wallet <path>', 'file of the units key, made when missing')
  .option('--evaluation-limit <ms>', 'how long one message may take', Number)
  .parse()

const options = command.opts<{
  dir: string
  port: number
  host: string
  module?: string
  wallet?: string
  evaluationLimit?: number
}>()

try {
  const units = await startAoUnits({
    dir: options.dir,
    port: options.port,
    host: options.host,
    module: options.module ?? (await ensureAosModule(CACHE_DIR, sentence => console.error(sentence))),
    log: createLogger({ name: 'ao-units', level: 'info' }),
    ...(options.wallet ? { wallet: options.wallet } : {}),
    ...(options.evaluationLimit ? { evaluationLimitMs: options.evaluationLimit } : {}),
  })
  const { urls, authority, scheduler, moduleId } = units
  const stop = (): void => {
    units.close().then(
      () => process.exit(0),
      error => {
        console.error(describeError(error))
        process.exit(1)
      },
    )
  }
  process.once('SIGINT', stop)
  process.once('SIGTERM', stop)
  console.log(JSON.stringify({ urls, authority, scheduler, moduleId, pid: process.pid }))
} catch (error) {
  console.error(describeError(error))
  process.exit(1)
}
