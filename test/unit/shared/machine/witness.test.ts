import { bundleLayout, type Manifest, tileOf } from '@apus/shared/machine'
import { describe, expect, it } from 'vitest'
import { readInput } from '../../../../shared/src/machine/inputs.ts'
import { layerOperations } from '../../../../shared/src/machine/manifest.ts'
import { planStage, stageCount } from '../../../../shared/src/machine/plan.ts'
import type { RunTerms } from '../../../../shared/src/machine/plan-parts.ts'
import { recompute } from '../../../../shared/src/machine/recompute.ts'
import { encodeRanked, noiseKey } from '../../../../shared/src/machine/sampler.ts'
import type { Input, Operation } from '../../../../shared/src/machine/steps.ts'
import { samplerSettings } from '../../../../shared/src/protocol/sampler.ts'
import {
  AWKWARD_SHAPES,
  type ModelShape,
  manifestOf,
  randomBundle,
} from '../../../support/machine/random-model.ts'
import { tracedRun } from '../../../support/machine/traced-run.ts'

const LIMIT = 48 * 1024
const HASH = 32
const two = { qkv: 2, o: 2, gateUp: 2, down: 2, output: 2 } as const

const SHAPES: ModelShape[] = [
  {
    name: '7B',
    layers: 32,
    width: 4096,
    heads: 32,
    kvHeads: 32,
    headSize: 128,
    hidden: 11_008,
    vocab: 32_000,
    context: 4096,
    tied: false,
    planes: two,
  },
  {
    name: '8B',
    layers: 32,
    width: 4096,
    heads: 32,
    kvHeads: 8,
    headSize: 128,
    hidden: 14_336,
    vocab: 128_256,
    context: 131_072,
    tied: false,
    planes: two,
  },
  {
    name: '72B',
    layers: 80,
    width: 8192,
    heads: 64,
    kvHeads: 8,
    headSize: 128,
    hidden: 29_568,
    vocab: 152_064,
    context: 32_768,
    tied: false,
    planes: two,
  },
  {
    name: 'largest',
    layers: 128,
    width: 8192,
    heads: 16,
    kvHeads: 16,
    headSize: 128,
    hidden: 32_768,
    vocab: 2 ** 18,
    context: 2 ** 18,
    tied: false,
    planes: two,
  },
]

/** The paths of a range of leaves: at most two hashes a level. */
const rangePath = (leaves: number): number => 2 * HASH * Math.ceil(Math.log2(Math.max(2, leaves)))

function termsOf(manifest: Manifest, promptLength: number): RunTerms {
  const sampler = samplerSettings.parse({ temperature: 65_536, topK: 1024, topP: 60_000 })
  const strings = Array.from({ length: 4 }, () => new Uint8Array(192))
  return {
    manifest,
    layout: bundleLayout(manifest),
    promptLength,
    sampler,
    noise: noiseKey(new Uint8Array()),
    maxTokens: 16_384,
    stop: strings,
  }
}

/** Bytes of the longest tile of a tensor. */
function tileBytes(terms: RunTerms, leaf: number): number {
  const { layout } = terms
  const tensors = [
    layout.embedding,
    layout.output,
    ...layout.layers.flatMap(l => [l.qkv, l.o, l.gateUp, l.down]),
  ]
  const tensor = tensors.findLast(t => t.first <= leaf)
  if (!tensor) return leaf === layout.frequencies ? 4 * terms.manifest.headSize : 4096
  const index = leaf - tensor.first
  const { rows, columns } = tileOf(
    tensor,
    Math.floor(index / tensor.segments) * tensor.tileRows,
    index % tensor.segments,
  )
  return rows * (columns + columns / 16 + 5)
}

function inputBytes(input: Input, terms: RunTerms, operations: ReadonlyMap<string, Operation>): number {
  const { headSize, layers, kvHeads } = terms.manifest
  const bundlePath = HASH * Math.ceil(Math.log2(terms.layout.leafCount))
  switch (input.kind) {
    case 'value': {
      const source = operations.get(`${input.stage} ${input.operation}`)!
      const bytes = Array.from({ length: input.count }, (_, i) => source.leafBytes(input.first + i))
      return bytes.reduce((a, b) => a + b) + (input.count === source.leaves ? 0 : rangePath(source.leaves))
    }
    case 'threshold':
      return 4096 + rangePath(8)
    case 'bundle':
      return tileBytes(terms, input.leaf) + bundlePath
    case 'embedding':
      return tileBytes(terms, terms.layout.embedding.first) + bundlePath
    case 'page':
      return 64 * (1 + 2 * headSize) + HASH * Math.ceil(Math.log2(2 ** 12 * layers * kvHeads * 2))
    case 'tokens':
      // Leaves of 64 prompt tokens and checkpoints of 41 bytes.
      return input.count * 41 + 512 + 2 * rangePath(2 ** 18)
    case 'piece':
      return 256
  }
}

describe('the inputs of a chunk', () => {
  for (const shape of SHAPES) {
    it(`of the ${shape.name} shape is at most 48 KB at the end of the context`, () => {
      const manifest = manifestOf(shape)
      const position = manifest.context - 1
      const terms = termsOf(manifest, position)
      const largest = new Map<string, number>()
      const stages = [0, 1, 2, manifest.layers, manifest.layers + 1].map(stage =>
        planStage(terms, position, stage),
      )
      const operations = new Map(stages.flat().map(o => [`${o.stage} ${o.name}`, o]))
      for (const operation of stages.flat()) {
        if (operation.stage > 1 && operation.stage <= manifest.layers) continue
        // Chunks repeat themselves: the first, the last and some between are all sizes that there are.
        const some = new Set([
          0,
          1,
          Math.floor(operation.chunks / 2),
          operation.chunks - 2,
          operation.chunks - 1,
        ])
        for (const c of [...some].filter(chunk => chunk >= 0)) {
          const bytes = operation
            .chunk(c)
            .inputs.reduce((sum, input) => sum + inputBytes(input, terms, operations), 0)
          largest.set(operation.name, Math.max(largest.get(operation.name) ?? 0, bytes))
        }
        expect(operation.leaves).toBeLessThanOrEqual(1024)
        const output = Array.from({ length: operation.leaves }, (_, leaf) =>
          operation.leafBytes(leaf),
        ).reduce((a, b) => a + b)
        const answered = operation.chunks === operation.leaves ? operation.leaves * HASH : output
        expect(answered, operation.name).toBeLessThanOrEqual(33 * 1024)
      }
      expect(Math.max(...largest.values())).toBeLessThanOrEqual(LIMIT)
      expect(stages.every(stage => stage.length <= 128)).toBe(true)
      expect(planStage(terms, position, 1).length).toBe(layerOperations(manifest, position))
      expect(stageCount(terms, position)).toBeLessThanOrEqual(130)
    })
  }
})

describe('checks of advice and links', () => {
  it('admit nothing but the truth', async () => {
    const sampler = samplerSettings.parse({ temperature: 65_536, topK: 9, topP: 50_000 })
    const request = { prompt: [1, 2], sampler, noise: noiseKey(new Uint8Array()), maxTokens: 1, stop: [] }
    const run = await tracedRun(randomBundle(AWKWARD_SHAPES[0]!, 3), request, [1])
    const source = run.source(1)
    const stage = run.model.manifest.layers + 1
    const chunkOf = (name: string, at: number) =>
      planStage(run.terms, 1, at)
        .find(o => o.name === name)!
        .chunk(0)
    const verdict = (name: string, replace: Record<number, Uint8Array>, at = stage) => {
      const { step, inputs } = chunkOf(name, at)
      return recompute(
        step!,
        inputs.map((input, i) => replace[i] ?? readInput(input, source)),
      )[0]
    }
    const tau = (value: number, index: number) => encodeRanked({ value, index })
    expect(verdict('topk.check', {})).toBe(1)
    expect(verdict('topk.check', { 0: Uint8Array.of(8, 0, 0, 0) })).toBe(0)
    expect(verdict('topk.check', { 1: tau(5, 3) })).toBe(0)
    expect(verdict('topk.check', { 1: tau(5, 70), 2: new Uint8Array() })).toBe(0)
    expect(verdict('topp.check', {})).toBe(1)
    expect(verdict('topp.check', { 0: new Uint8Array(8) })).toBe(0)
    expect(verdict('topp.check', { 1: new Uint8Array(8).fill(127) })).toBe(0)
    expect(verdict('topp.check', { 3: tau(0, 2 ** 32 - 1), 4: new Uint8Array() })).toBe(0)
    // A threshold that top-k did not keep.
    expect(verdict('topp.check', { 5: tau(2 ** 31 - 1, 0) })).toBe(0)
    expect(verdict('link', {}, 1)).toBe(1)
    expect(verdict('link', { 0: new Uint8Array(17).fill(1) }, 1)).toBe(0)
  })
})
