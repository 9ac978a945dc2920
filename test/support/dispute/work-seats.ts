import type { Replay } from '@apus/shared/replay'
import { type Miner, seated, tick } from '../contracts-cast.ts'
import { resultOf } from './play.ts'
import type { Side, Trial } from './trial.ts'

export interface SeatWork {
  /** What a miner computes when it has a seat. */
  readonly runOf: (miner: Miner) => Replay
  /** Happens before each commitment and each reveal. */
  readonly before?: (miner: Miner) => Promise<void>
}

/** Lets all seats of a job work, audit seats included, each in its own way. */
export async function workSeats(trial: Trial, { runOf, before }: SeatWork): Promise<readonly Side[]> {
  const { cast, world, job } = trial
  for (let i = 0; i < 40 && world.job(job).state !== 'revealing'; i++) {
    const [miner] = seated(cast, job)
    if (!miner) {
      await tick(cast)
      continue
    }
    await before?.(miner)
    const run = runOf(miner)
    const side = { miner, run, result: resultOf(run) }
    const { code } = await miner.commit(job, trial.resultOf(run, side.result))
    if (code) throw new Error(`commitment refused: ${code}`)
    trial.sides.set(miner.address, side)
  }
  const sides = [...trial.sides.values()]
  for (const { miner, run, result } of sides) {
    await before?.(miner)
    const { code } = await miner.reveal(job, trial.resultOf(run, result))
    if (code) throw new Error(`reveal refused: ${code}`)
  }
  return sides
}
