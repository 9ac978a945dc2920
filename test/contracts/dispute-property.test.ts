import type { DisputeMessage } from '@apus/shared/dispute'
import { bundleLayout, decodeManifest } from '@apus/shared/machine'
import type { DisputeView, SamplerSettings } from '@apus/shared/protocol'
import type { Replay } from '@apus/shared/replay'
import { expect, it } from 'vitest'
import { APUS } from '../support/contracts.ts'
import { flipBit } from '../support/dispute/flip.ts'
import { stoppedAt, withWrongPiece, withWrongRow } from '../support/dispute/lies.ts'
import { type Side, TRIAL_SHAPE, Trial } from '../support/dispute/trial.ts'
import type { ModelShape } from '../support/machine/random-model.ts'
import { gameSeed, type Random, seededRandom } from '../support/random.ts'

const SEED = 20_261_121
const DISPUTES = 500
const LIARS = 5
/** A world is used for several jobs, so that they meet each other's disputes, and then made anew, to keep it fast. */
const JOBS_PER_WORLD = 8
/** Small enough that a run takes milliseconds, with everything that the machine has. */
const SHAPE: ModelShape = {
  ...TRIAL_SHAPE,
  name: 'property',
  width: 33,
  heads: 2,
  kvHeads: 1,
  hidden: 34,
  vocab: 70,
}

const SAMPLERS: readonly Partial<SamplerSettings>[] = [
  {},
  { temperature: 60_000, topK: 30, seed: 4 },
  { temperature: 90_000, topP: 55_000, repeatPenalty: 80_000, penaltyWindow: 3, seed: 5 },
  { temperature: 40_000, topK: 50, topP: 60_000, presencePenalty: 900, seed: 6 },
]

/** A run that differs from the honest one somewhere; undefined when the change happens to change nothing. */
async function lieOf(trial: Trial, random: Random): Promise<Replay> {
  const { honest, bundle, request } = trial
  const layout = bundleLayout(decodeManifest(bundle.leaf(0)))
  const pick = <T>(items: readonly T[]): T => items[random.below(items.length)] as T
  switch (random.below(8)) {
    case 0:
      return withWrongRow(
        honest,
        random.below(honest.pageLeaves.length),
        random.below(Math.min(64, request.prompt.length)),
      )
    case 1: {
      const n = random.below(honest.tokens.length)
      return withWrongPiece(honest, n, Buffer.from(`x${n}${random.below(9)}`))
    }
    case 2:
      return stoppedAt(honest, 1 + random.below(honest.tokens.length - 1), pick([0, 1, 2, 3] as const))
    case 3:
      return trial.run(bundle, { prompt: request.prompt.map((t, i) => (i === 1 ? (t + 1) % 70 : t)) })
    default: {
      const layer = layout.layers[random.below(2)]!
      const tensor = pick([layer.qkv, layer.o, layer.gateUp, layer.down, layout.output, layout.embedding])
      const leaf = tensor.first + random.below(Math.floor(tensor.rows / tensor.tileRows))
      const padded = Math.ceil(tensor.columns / 32) * 32
      const row = random.below(Math.min(tensor.tileRows, tensor.rows))
      const byte = row * padded + random.below(Math.min(30, tensor.columns))
      // -128 is no weight.
      const bit = [5, 4, 3].find(b => (bundle.leaf(leaf)[byte]! ^ (1 << b)) !== 0x80)!
      return trial.run(flipBit(bundle, leaf, byte, bit))
    }
  }
}

const differs = (a: Side, b: Side) => JSON.stringify(a.result) !== JSON.stringify(b.result)

/** Loses a message now and then, so that clocks decide too. */
const forgetful =
  (random: Random, side: 'accused' | 'challenger') => (view: DisputeView, message: DisputeMessage) =>
    view.turn === side && random.below(12) === 0 ? undefined : message

interface Count {
  disputes: number
  proven: number
  refuted: number
}

/** A job of liars and honest seats, each accused once or oftener, played until money and seats have their place. */
async function playJob(trial: Trial, random: Random, count: Count): Promise<void> {
  const lies = await Promise.all(Array.from({ length: LIARS }, () => lieOf(trial, random)))
  const sides = await trial.computeWith(lies)
  const honest = sides.at(-1)!
  const liars = sides.filter(side => differs(side, honest))
  const slashed = (side: Side) =>
    trial.world.job(trial.job).seats.find(seat => seat.miner === side.miner.address)!.slashed
  // Liars accuse the honest first, each with its own run.
  for (const accuser of liars) {
    // A lie that shows in no root would still show in an answer.
    for (const accused of sides.filter(side => side.run === trial.honest)) {
      const opened = await trial.accuse(accuser.miner.address, accused, accuser.run, honest.run)
      if (opened.code || trial.world.entry('disputes', opened.id) === undefined) continue
      count.disputes++
      // A wrong bit that is rounded away leaves the result right and its steps wrong: an honest seat has neither.
      const answering = { ...accused, run: trial.honest }
      const played = await trial.play(opened.id, accuser.run, answering)
      expect(['refuted', 'abandoned']).toContain(played.view.state)
      count.refuted++
    }
  }
  for (const side of liars) {
    const leaves = random.below(2) === 0 ? undefined : side.run
    const opened = await trial.accuse(honest.miner.address, side, honest.run, leaves)
    expect(opened.code, JSON.stringify(side.result)).toBeUndefined()
    count.disputes++
    if (trial.world.entry('disputes', opened.id) !== undefined) {
      const played = await trial.play(opened.id, honest.run, side, {
        tamper: forgetful(random, 'accused'),
      })
      expect(['proven', 'silent', 'moot']).toContain(played.view.state)
      expect(1 + played.messages.length).toBeLessThanOrEqual(leaves ? 8 : 12)
      expect(played.largest).toBeLessThan(65_536)
    }
    count.proven++
    expect(slashed(side)).toBeDefined()
    // It has nothing more to lose in this job.
    const again = await trial.accuse(honest.miner.address, side, honest.run, side.run)
    expect(['already-convicted', 'job-ended']).toContain(again.code)
  }
  await trial.finish()
  const { state, seats } = trial.world.job(trial.job)
  expect(state).toBe('settled')
  for (const seat of seats) {
    const side = sides.find(s => s.miner.address === seat.miner)!
    expect(seat.slashed !== undefined).toBe(differs(side, honest))
    expect(seat.paid !== undefined).toBe(!differs(side, honest))
  }
}

it('no honest seat is ever slashed, every liar with an honest challenger is, once, and money is conserved', async () => {
  const random = seededRandom(gameSeed(SEED))
  const count: Count = { disputes: 0, proven: 0, refuted: 0 }
  // Disputes are played one after the other, so the window outlasts all of them.
  const parameters = { disputeWindow: 240 * 60_000 }
  for (let seed = 0; count.disputes < DISPUTES; seed++) {
    const world = { shape: SHAPE, seed, miners: LIARS + 4, redundancy: LIARS + 1, parameters }
    const first = await Trial.open(world)
    for (let j = 0; j < JOBS_PER_WORLD && count.disputes < DISPUTES; j++) {
      const trial =
        j === 0
          ? first
          : await Trial.submit(first.cast, first.bundle, {
              shape: SHAPE,
              redundancy: LIARS + 1,
              maxTokens: 4,
              sampler: SAMPLERS[j % SAMPLERS.length]!,
              promptLength: j % 4 === 3 ? 62 + random.below(8) : 2 + random.below(6),
              stop: random.below(2) === 0 ? ['ab'] : [],
            })
      await playJob(trial, random, count)
    }
    expect(BigInt(first.world.totals().bonds)).toBe(100n * APUS)
  }
  expect(count.proven).toBeGreaterThan(DISPUTES / 4)
  expect(count.refuted).toBeGreaterThan(DISPUTES / 8)
}, 900_000)
