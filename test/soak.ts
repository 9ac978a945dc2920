// The random games and the crashes of the suite, round after round, each round with seeds of its own.
import { spawnSync } from 'node:child_process'
import { join } from 'node:path'
import { Command, InvalidArgumentError } from 'commander'

const GAMES = [
  'sim/random-disputes',
  'contracts/court',
  'contracts/dispute-property',
  'contracts/property',
  'gpu/lavapipe',
  'gpu/swiftshader',
  'e2e/ao-units-crash',
  'e2e/coordinator-crash',
  'e2e/miner',
]
const VITEST = join(import.meta.dirname, '../node_modules/vitest/vitest.mjs')
const CONFIG = join(import.meta.dirname, 'vitest.config.ts')

const count = (text: string): number => {
  if (!/^\d{1,9}$/.test(text)) throw new InvalidArgumentError('It is a whole number.')
  return Number(text)
}

const program = new Command('soak')
  .description('plays the random games and the crashes of the suite until the time is over or one fails')
  .argument('[parts...]', 'parts of the names of test files', GAMES)
  .option('--minutes <n>', 'begin no round after this long', count, 30)
  .option('--seed <n>', 'of the first round; every further round adds one', count, 1)
  .parse()
const parts = program.processedArgs[0] as string[]
const { minutes, seed } = program.opts<{ minutes: number; seed: number }>()

const end = Date.now() + minutes * 60_000
let round = seed
do {
  console.log(`Round with seed ${round}`)
  const env = { ...process.env, APUS_SOAK_ROUND: String(round) }
  const { status } = spawnSync(process.execPath, [VITEST, 'run', '--config', CONFIG, ...parts], {
    env,
    stdio: 'inherit',
  })
  if (status !== 0) {
    console.error(
      `The round failed. Once more: npm run soak -- --minutes 0 --seed ${round} ${parts.join(' ')}`,
    )
    process.exit(1)
  }
  round += 1
} while (Date.now() < end)
console.log(`${round - seed} rounds passed, with the seeds ${seed} to ${round - 1}`)
