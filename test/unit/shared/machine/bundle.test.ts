import { encodeCanonical } from '@apus/shared/hashing'
import { type BundleLayout, bundleLayout, decodeManifest, type Manifest, Oracle } from '@apus/shared/machine'
import { describe, expect, it } from 'vitest'
import { checkLeaf } from '../../../../shared/src/machine/domain.ts'
import { readInput } from '../../../../shared/src/machine/inputs.ts'
import { Model } from '../../../../shared/src/machine/model.ts'
import { recompute } from '../../../../shared/src/machine/recompute.ts'
import { noiseKey } from '../../../../shared/src/machine/sampler.ts'
import { samplerSettings } from '../../../../shared/src/protocol/sampler.ts'
import {
  AWKWARD_SHAPES,
  MemoryBundle,
  manifestOf,
  randomBundle,
} from '../../../support/machine/random-model.ts'
import { tracedRun } from '../../../support/machine/traced-run.ts'

const grouped = AWKWARD_SHAPES.find(shape => shape.name === 'grouped')!
const segments = AWKWARD_SHAPES.find(shape => shape.name === 'segments')!
const invalid = expect.objectContaining({ code: 'bundle-invalid' })

describe('a bundle', () => {
  it('of a seeded model has only leaves that the machine allows', () => {
    for (const shape of AWKWARD_SHAPES) {
      const bundle = randomBundle(shape, 9)
      const manifest = decodeManifest(bundle.leaf(0))
      const layout = bundleLayout(manifest)
      expect(layout.leafCount).toBe(bundle.leafCount)
      for (const [i, leaf] of bundle.leaves.entries()) checkLeaf(manifest, layout, i, leaf)
    }
  })

  /** The byte at which something of a leaf is spoiled, and with what. */
  const manifest = manifestOf(grouped)
  const layout = bundleLayout(manifest)
  const bundle = randomBundle(grouped, 9)
  const refuses = (
    index: number,
    change: (leaf: Uint8Array) => Uint8Array | undefined,
    m: Manifest = manifest,
    l: BundleLayout = layout,
    b = bundle,
  ) => {
    const leaf = b.leaf(index).slice()
    const changed = change(leaf) ?? leaf
    expect(() => checkLeaf(m, l, index, changed)).toThrow(invalid)
  }
  const qkv = layout.layers[0]!.qkv
  const rows = qkv.tileRows
  const columns = 96

  it('is refused with a leaf of another length', () => {
    for (const index of [
      layout.frequencies,
      layout.gains(0),
      layout.embedding.first,
      qkv.first,
      layout.pieces,
      layout.tokenizer,
      layout.leafCount - 1,
    ]) {
      refuses(index, leaf => leaf.slice(1))
    }
  })

  it('is refused with a number outside its domain', () => {
    const multipliers = rows * columns
    const shifts = multipliers + (rows * columns) / 16
    const biases = shifts + rows
    const put =
      (at: number, ...bytes: number[]) =>
      (leaf: Uint8Array) =>
        void leaf.set(bytes, at)
    refuses(layout.frequencies, put(5, 16))
    refuses(layout.gains(1), put(0, 0, 0, 0, 64))
    refuses(layout.gains(1), put(0, 0, 0, 0, 192))
    refuses(qkv.first, put(0, 128))
    refuses(qkv.first, put(columns - 1, 1))
    refuses(qkv.first, put(multipliers, 0, 8))
    refuses(qkv.first, put(shifts, 0))
    refuses(qkv.first, put(shifts, 57))
    refuses(qkv.first, put(biases, 0, 0, 0, 64))
    refuses(layout.embedding.first, put(biases, 1))
    refuses(layout.embedding.first, put(shifts, 3))
    refuses(layout.embedding.first, put(shifts, 47))
    refuses(layout.pieces, put(0, 255, 255))
    const wide = randomBundle(segments, 9)
    const wideLayout = bundleLayout(manifestOf(segments))
    const second = wideLayout.layers[0]!.down.first + 1
    const length = wide.leaf(second).length
    refuses(second, put(length - 4, 1), manifestOf(segments), wideLayout, wide)
  })

  it('is refused with a piece above 256 bytes, though the leaf fits', () => {
    refuses(layout.pieces, () => {
      const leaf = new Uint8Array(64 * 2 + 257)
      leaf.set([1, 1])
      return leaf
    })
  })

  it('is refused by the oracle when a leaf of it is read', () => {
    const spoil = (index: number, at: number, byte: number) =>
      new MemoryBundle(bundle.leaves.map((leaf, i) => (i === index ? leaf.with(at, byte) : leaf)))
    expect(() => new Model(spoil(layout.frequencies, 5, 16))).toThrow(invalid)
    expect(() => new Model(spoil(layout.pieces, 1, 255))).toThrow(invalid)
    expect(() => new Model(new MemoryBundle(bundle.leaves.slice(0, -1)))).toThrow(invalid)
    const request = {
      prompt: [1],
      sampler: samplerSettings.parse({}),
      noise: noiseKey(new Uint8Array()),
      maxTokens: 1,
      stop: [],
    }
    const run = new Oracle(spoil(qkv.first, 0, 128)).run(request, new AbortController().signal)
    return expect(run).rejects.toEqual(invalid)
  })

  it('is refused when the segments of a row have different shifts', () => {
    const wide = randomBundle(segments, 9)
    const model = (change: (leaf: Uint8Array) => Uint8Array) => {
      const second = bundleLayout(manifestOf(segments)).layers[0]!.down.first + 1
      return new Model(new MemoryBundle(wide.leaves.map((leaf, i) => (i === second ? change(leaf) : leaf))))
    }
    const read = (m: Model) => m.tile(m.layout.layers[0]!.down, 0, 1)
    expect(read(model(leaf => leaf))[1]).toBe(0)
    const shift = 2 * 32 + 4
    expect(() => read(model(leaf => leaf.with(shift, leaf[shift]! + 1)))).toThrow(invalid)
  })

  it('is refused with a manifest outside the limits', () => {
    const of = (part: Record<string, unknown>) => () =>
      decodeManifest(encodeCanonical({ ...manifest, ...part }))
    expect(of({})()).toEqual(manifest)
    for (const part of [
      { machine: 2 },
      { layers: 0 },
      { layers: 129 },
      { width: 8193 },
      { kvHeads: 4 },
      { headSize: 24 },
      { heads: 128, kvHeads: 2, headSize: 128 },
      { vocab: 2 ** 18 + 1 },
      { context: 2 ** 18, heads: 128, kvHeads: 1, headSize: 8 },
      { epsilon: 2 ** 48 },
      { epsilon: 0.5 },
      { stop: [5, 5] },
      { stop: [1091] },
      { name: 'ä'.repeat(65) },
      { more: 1 },
      { formats: { ...manifest.formats, gate: 12 } },
      { planes: { ...manifest.planes, o: 3 } },
    ]) {
      expect(of(part), JSON.stringify(part)).toThrow(invalid)
    }
    expect(() => decodeManifest(Uint8Array.of(1, 2, 3))).toThrow(invalid)
  })
})

it('bytes in a buffer of Node are read where they begin', async () => {
  const sampler = samplerSettings.parse({ temperature: 65_536, topK: 5, topP: 60_000 })
  const request = { prompt: [1, 2], sampler, noise: noiseKey(new Uint8Array()), maxTokens: 1, stop: [] }
  const run = await tracedRun(randomBundle(AWKWARD_SHAPES[0]!, 3), request, [1])
  const shifted = (bytes: Uint8Array) => Buffer.concat([Buffer.of(9), bytes]).subarray(1)
  for (const { operation, leaves } of [...run.positions.get(1)!.operations.values()].flat()) {
    const chunk = operation.chunk(operation.chunks - 1)
    if (!chunk.step) continue
    const inputs = chunk.inputs.map(input => shifted(readInput(input, run.source(1))))
    const wanted = leaves[chunk.leaf]!.slice(chunk.from, chunk.from + chunk.length)
    expect(Buffer.compare(recompute(chunk.step, inputs), wanted), operation.name).toBe(0)
  }
})
