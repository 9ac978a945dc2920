import type { DisputeMessage, DisputeView, Retrace } from '@apus/shared'
import { expect, it } from 'vitest'
import { bundleLayout, decodeManifest } from '../../shared/src/machine/index.ts'
import type { SamplerSettings } from '../../shared/src/protocol/sampler.ts'
import { APUS } from '../support/contracts.ts'
import { flipBit } from '../support/dispute/flip.ts'
import { stoppedAt, withWrongPiece, withWrongRow } from '../support/dispute/lies.ts'
import { type Side, TRIAL_SHAPE, Trial } from '../support/dispute/trial.ts'
import { type Random, seededRandom } from '../support/random.ts'

const SEED = 20_261_121
const JOBS = 12
const LIARS = 5

const SAMPLERS: readonly Partial<SamplerSettings>[] = [
  {},
  { temperature: 60_000, topK: 30, seed: 4 },
  { temperature: 90_000, topP: 55_000, repeatPenalty: 80_000, penaltyWindow: 3, seed: 5 },
  { temperature: 40_000, topK: 50, topP: 60_000, presencePenalty: 900, seed: 6 },
]

/** A run that differs from the honest one somewhere; undefined when the change happens to change nothing. */
async function lieOf(trial: Trial, random: Random): Promise<Retrace> {
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
      return trial.run(bundle, { prompt: request.prompt.map((t, i) => (i === 1 ? (t + 1) % 200 : t)) })
    default: {
      const layer = layout.layers[random.below(2)]!
      const tensor = pick([layer.qkv, layer.o, layer.gateUp, layer.down, layout.output, layout.embedding])
      const leaf = tensor.first + random.below(Math.floor(tensor.rows / tensor.tileRows))
      const padded = Math.ceil(tensor.columns / 32) * 32
      const byte = random.below(tensor.tileRows) * padded + random.below(30)
      // -128 is no weight.
      const bit = [5, 4, 3].find(b => (bundle.leaf(leaf)[byte]! ^ (1 << b)) !== 0x80)!
      return trial.run(flipBit(bundle, leaf, byte, bit))
    }
  }
}

const differs = (a: Side, b: Side) => JSON.stringify(a.statement) !== JSON.stringify(b.statement)

/** Loses a message now and then, so that clocks decide too. */
const forgetful =
  (random: Random, side: 'accused' | 'challenger') => (view: DisputeView, message: DisputeMessage) =>
    view.turn === side && random.below(12) === 0 ? undefined : message

it('no honest seat is ever slashed, every liar with an honest challenger is, and money is conserved', async () => {
  const random = seededRandom(SEED)
  // Disputes are played one after the other, so the window outlasts all of them.
  const parameters = { disputeWindow: 100 * 60_000 }
  const first = await Trial.open({ miners: LIARS + 4, redundancy: LIARS + 1, parameters })
  let disputes = 0
  let proven = 0
  for (let j = 0; j < JOBS; j++) {
    const options = {
      redundancy: LIARS + 1,
      maxTokens: 4,
      sampler: SAMPLERS[j % SAMPLERS.length]!,
      promptLength: 3 + random.below(70),
      stop: random.below(2) === 0 ? ['ab'] : [],
      shape: TRIAL_SHAPE,
    }
    const trial = j === 0 ? first : await Trial.submit(first.cast, first.bundle, options)
    const lies = await Promise.all(Array.from({ length: LIARS }, () => lieOf(trial, random)))
    const sides = await trial.computeWith(lies)
    const honest = sides.at(-1)!
    for (const side of sides) {
      if (side === honest) continue
      const lies = differs(side, honest)
      const withheld = random.below(2) === 0
      const evidence = withheld ? undefined : side.run
      if (lies) {
        const opened = await trial.accuse(honest.miner.address, side, honest.run, evidence)
        expect(opened.code, JSON.stringify(side.statement)).toBeUndefined()
        disputes++
        if (trial.world.entry('disputes', opened.id) !== undefined) {
          const played = await trial.play(opened.id, honest.run, side, {
            ...(evidence ? { evidence } : {}),
            tamper: forgetful(random, 'accused'),
          })
          expect(['proven', 'silent', 'moot']).toContain(played.view.state)
          if (played.view.state === 'proven') proven++
          expect(played.largest).toBeLessThan(65_536)
        }
      } else if (random.below(2) === 0) {
        // Somebody with a wrong run accuses an honest seat.
        const wrong = lies ? undefined : await lieOf(trial, random)
        if (!wrong) continue
        const accuser = sides.find(s => s !== side && differs(s, honest))
        if (!accuser) continue
        const opened = await trial.accuse(accuser.miner.address, side, accuser.run)
        if (opened.code || trial.world.entry('disputes', opened.id) === undefined) continue
        disputes++
        const played = await trial.play(opened.id, accuser.run, side)
        expect(['refuted', 'abandoned']).toContain(played.view.state)
      }
      const seats = trial.world.job(trial.job).seats
      const seat = seats.find(s => s.miner === side.miner.address)!
      expect(seat.slashed !== undefined, JSON.stringify(side.statement)).toBe(lies)
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
  expect(disputes).toBeGreaterThan(JOBS * 3)
  expect(proven).toBeGreaterThan(JOBS)
  expect(BigInt(first.world.totals().bonds)).toBe(100n * APUS)
})
