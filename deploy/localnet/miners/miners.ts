import { describeError } from '@apus/shared/kit'
import { Command } from 'commander'
import { mine } from '../../../node/src/commands/start.ts'
import { homeAt } from '../../../node/src/home/home.ts'
import { Engines } from '../../../node/src/miner/engines.ts'
import { type Cheat, withCheat } from './faulty-miner.ts'

/** Several miners in one process: starting Node and checking its engines once for all of them saves seconds. Each is told as `home=`, one that cheats as `home=cheat`. */
const { args: miners } = new Command('miners').argument('<homes...>').parse()

const engines = new Engines()
let starting = miners.length
const io = {
  env: process.env,
  // Each says that it is ready in its first line.
  print: (line: string) => {
    if (line.startsWith('{') && --starting === 0) console.log(JSON.stringify({ ready: true, miners }))
  },
}

try {
  await Promise.all(
    miners.map(miner => {
      // A home may have this character in its path, a cheat has not.
      const at = miner.lastIndexOf('=')
      const cheat = miner.slice(at + 1)
      return mine(
        io,
        homeAt(miner.slice(0, at)),
        engines,
        cheat === '' ? undefined : withCheat(cheat as Cheat),
      )
    }),
  )
  process.exit(0)
} catch (error) {
  console.error(describeError(error))
  process.exit(1)
}
