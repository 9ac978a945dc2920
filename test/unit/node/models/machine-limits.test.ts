import { describe, expect, it } from 'vitest'
import { checkLimits, provableContext } from '../../../../node/src/models/import/machine-limits.ts'
import type { SourceModel } from '../../../../node/src/models/import/source-model.ts'

const llama8b: SourceModel = {
  name: 'm',
  pairing: 'adjacent',
  layers: 32,
  width: 4096,
  heads: 32,
  kvHeads: 8,
  headSize: 128,
  hidden: 14_336,
  vocabulary: 128_256,
  context: 131_072,
  epsilon: 1e-5,
  ropeBase: 500_000,
  ropeScale: 1,
  tied: false,
  tensors: new Map(),
}

describe('limits of the machine', () => {
  it('cover the models that people run and name every fault of others', () => {
    expect(() => checkLimits(llama8b)).not.toThrow()
    expect(() =>
      checkLimits({ ...llama8b, layers: 80, width: 8192, heads: 64, hidden: 29_568 }),
    ).not.toThrow()
    const both = { ...llama8b, headSize: 96, vocabulary: 300_000 }
    expect(() => checkLimits(both)).toThrow(
      expect.objectContaining({
        code: 'model-unsupported',
        message: 'The machine cannot run a model with heads of 96 values, 300000 tokens.',
      }),
    )
    for (const change of [
      { kvHeads: 5 },
      { layers: 129 },
      { width: 8224 },
      { heads: 72 },
      { hidden: 32_800 },
    ])
      expect(() => checkLimits({ ...llama8b, ...change })).toThrow(/cannot run/)
  })

  it('shorten a context whose attention would not fit into one layer of a proof', () => {
    expect(provableContext(llama8b)).toBe(131_072)
    expect(provableContext({ ...llama8b, context: 1_000_000 })).toBe(53 * 4096)
    expect(provableContext({ ...llama8b, heads: 1, kvHeads: 1, context: 1_000_000 })).toBe(262_144)
    expect(provableContext({ ...llama8b, width: 8192, heads: 64, hidden: 29_568 })).toBe(24 * 4096)
  })
})
