import { expect, it } from 'vitest'
import { bundleLayout, decodeManifest } from '../../shared/src/machine/index.ts'
import { flipBit } from '../support/dispute/flip.ts'
import { Trial } from '../support/dispute/trial.ts'

it('convicts a seat whose weights are wrong by one bit, and pays the others', async () => {
  const trial = await Trial.open()
  const layout = bundleLayout(decodeManifest(trial.bundle.leaf(0)))
  const lie = await trial.run(flipBit(trial.bundle, layout.layers[1]!.gateUp.first, 3, 6))
  const [liar, honest] = await trial.compute(lie)
  const { world, job } = trial
  expect(world.job(job).state).toBe('held')
  const opened = await trial.accuse(honest!.miner.address, liar!, trial.honest, lie)
  expect(opened.code).toBeUndefined()
  const played = await trial.play(opened.id, trial.honest, liar!, { evidence: lie })
  expect(played.view.state).toBe('proven')
  expect(world.job(job).state).toBe('agreed')
  await trial.finish()
  expect(world.job(job).state).toBe('settled')
})
