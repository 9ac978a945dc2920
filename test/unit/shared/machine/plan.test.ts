import { merkleRoot } from '@apus/shared/hashing'
import type { RunRequest } from '@apus/shared/machine'
import type { SamplerSettings } from '@apus/shared/protocol'
import { describe, expect, it } from 'vitest'
import { pageLeaf } from '../../../../shared/src/machine/digests.ts'
import { readInput } from '../../../../shared/src/machine/inputs.ts'
import { planStage, stageCount } from '../../../../shared/src/machine/plan.ts'
import { recompute } from '../../../../shared/src/machine/recompute.ts'
import { noiseKey } from '../../../../shared/src/machine/sampler.ts'
import { operationDigest, valueDigest } from '../../../../shared/src/machine/value-tree.ts'
import { samplerSettings } from '../../../../shared/src/protocol/sampler.ts'
import { AWKWARD_SHAPES, type ModelShape, randomBundle } from '../../../support/machine/random-model.ts'
import { type TracedRun, tracedRun } from '../../../support/machine/traced-run.ts'

const request = (
  promptLength: number,
  vocab: number,
  sampler: Partial<SamplerSettings>,
  stop: string[] = [],
): RunRequest => ({
  prompt: Array.from({ length: promptLength }, (_, i) => (i * 7 + 3) % vocab),
  sampler: samplerSettings.parse(sampler),
  noise: noiseKey(Buffer.from('plan')),
  maxTokens: 4,
  stop: stop.map(text => new Uint8Array(Buffer.from(text))),
})

const SAMPLED: Partial<SamplerSettings> = {
  temperature: 60_000,
  topK: 5,
  topP: 60_000,
  repeatPenalty: 80_000,
  frequencyPenalty: 3000,
  presencePenalty: -20,
}

/** Every chunk of every operation from its inputs; how many there were. */
function recomputeAll({ positions, source, terms }: TracedRun): number {
  let chunks = 0
  for (const [position, { stages, operations }] of positions) {
    const inputs = source(position)
    expect(stages.length).toBe(stageCount(terms, position))
    for (const [stage, traced] of operations) {
      expect(traced.map(t => t.operation.name)).toEqual(planStage(terms, position, stage).map(o => o.name))
      expect(traced.at(-1)!.digest).toEqual(stages[stage])
      for (const { operation, leaves, digest } of traced) {
        const where = `${position} ${stage} ${operation.name}`
        expect(
          leaves.map(leaf => leaf.length),
          where,
        ).toEqual(leaves.map((_, leaf) => operation.leafBytes(leaf)))
        expect(leaves.length, where).toBe(operation.leaves)
        expect(operationDigest(leaves, operation.leavesPerRun)).toEqual(digest)
        const made = leaves.map(leaf => new Uint8Array(leaf.length))
        let covered = 0
        for (let c = 0; c < operation.chunks; c++) {
          const chunk = operation.chunk(c)
          covered += chunk.length
          const claimed = leaves[chunk.leaf]!.slice(chunk.from, chunk.from + chunk.length)
          const bytes = chunk.step
            ? recompute(
                chunk.step,
                chunk.inputs.map(input => readInput(input, inputs)),
              )
            : claimed
          if (Buffer.compare(bytes, claimed) !== 0) throw new Error(`chunk ${c} of ${where} is another`)
          made[chunk.leaf]!.set(bytes, chunk.from)
          chunks++
        }
        expect(Buffer.compare(Buffer.concat(made), Buffer.concat(leaves)), where).toBe(0)
        expect(covered, where).toBe(leaves.reduce((sum, leaf) => sum + leaf.length, 0))
      }
    }
  }
  return chunks
}

/** Checkpoints and pages as SPEC.md §4 links them to the trace. */
function checkLinks({ positions, result, terms, model, source }: TracedRun): void {
  const { layers, kvHeads } = model.manifest
  for (const [position, { stages, operations }] of positions) {
    const n = position + 1 - terms.promptLength
    if (n < 0) {
      expect(operations.get(layers)!.at(-1)!.operation.name).toBe('link')
      continue
    }
    const checkpoint = result.checkpoints[n]!
    expect(Buffer.from(checkpoint).readUInt32LE()).toBe(n)
    expect(checkpoint.slice(9)).toEqual(stages[layers])
    expect(valueDigest([checkpoint.slice(4, 9)])).toEqual(stages[layers + 1])
  }
  const { page } = source(0)
  const pages = Math.ceil((terms.promptLength + result.tokens.length - 1) / 64)
  const leaves = []
  for (let p = 0; p < pages; p++)
    for (let layer = 0; layer < layers; layer++)
      for (let head = 0; head < kvHeads; head++)
        for (const kv of [0, 1] as const) leaves.push(pageLeaf(page(p, layer, head, kv)))
  expect(merkleRoot(leaves)).toEqual(merkleRoot(result.pageLeaves))
}

describe('every chunk of every operation is recomputed from its inputs', () => {
  for (const [i, shape] of AWKWARD_SHAPES.entries()) {
    it(`${shape.name}: prompt, last prompt position, sampled answer`, async () => {
      const bundle = randomBundle(shape, 40 + i)
      const run = await tracedRun(
        bundle,
        request(3, shape.vocab ?? 70, i % 2 === 0 ? SAMPLED : { ...SAMPLED, topK: 0 }, ['ab', 'cd']),
        [0, 2, 3],
      )
      expect(recomputeAll(run)).toBeGreaterThan(80)
      checkLinks(run)
    })
  }

  const settings: [string, Partial<SamplerSettings>][] = [
    ['greedy', {}],
    ['greedy with penalties', { repeatPenalty: 90_000, penaltyWindow: 2 }],
    ['temperature alone', { temperature: 65_536 }],
    ['top-k alone', { temperature: 65_536, topK: 69 }],
    ['top-p alone', { temperature: 1000, topP: 1, penaltyWindow: 0 }],
    ['top-k as large as the vocabulary', { temperature: 65_536, topK: 70, topP: 65_535 }],
  ]
  for (const [name, sampler] of settings) {
    it(`tiny, ${name}, beyond the first page`, async () => {
      const run = await tracedRun(
        randomBundle(AWKWARD_SHAPES[0]!, 7),
        request(66, 70, sampler),
        [63, 64, 65, 66, 67, 68],
      )
      recomputeAll(run)
      checkLinks(run)
    })
  }

  it('beyond the first group of pages', async () => {
    const shape: ModelShape = { name: 'long', context: 5000, heads: 18, kvHeads: 2, hidden: 32 }
    const run = await tracedRun(randomBundle(shape, 1), request(4098, 70, SAMPLED), [4095, 4096, 4097, 4098])
    recomputeAll(run)
    checkLinks(run)
  })
})
