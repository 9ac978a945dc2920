import { copyFile, cp, mkdtemp, readdir, readFile, rename, rm, truncate, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fromBase64Url, merkleLeaf } from '@apus/shared/hashing'
import { errorCode } from '@apus/shared/kit'
import { decodeManifest, type Manifest, tileRows } from '@apus/shared/machine'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { decodeTokenizerSection } from '../../../../node/src/models/bundle-tokenizer.ts'
import { withGguf } from '../../../../node/src/models/gguf/read-gguf.ts'
import { DEFAULT_PLANES } from '../../../../node/src/models/import/bundle-manifest.ts'
import { exclusively } from '../../../../node/src/models/import/exclusively.ts'
import { importGguf } from '../../../../node/src/models/import/import-gguf.ts'
import { linearSources } from '../../../../node/src/models/import/linear-source.ts'
import { rowFormats } from '../../../../node/src/models/import/number-formats.ts'
import { sourceModel } from '../../../../node/src/models/import/source-model.ts'
import { BundleWriter } from '../../../../node/src/models/store/bundle-writer.ts'
import { ModelStore } from '../../../../node/src/models/store/model-store.ts'
import { verifyMerklePath } from '../../../../shared/src/hashing/merkle.ts'
import { EMBEDDED_Q8 } from '../../../support/embedded-model.ts'
import { type RandomModel, randomModel } from '../../../support/gguf/random-model.ts'
import { bpeVocabulary, sentencePieceVocabulary } from '../../../support/gguf/vocabularies.ts'

const options = { planes: DEFAULT_PLANES }

let folder: string
let store: ModelStore

beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'apus-import-'))
  store = new ModelStore(join(folder, 'models'))
})
afterAll(() => rm(folder, { recursive: true }))

async function write(name: string, bytes: Uint8Array): Promise<string> {
  const path = join(folder, name)
  await writeFile(path, bytes)
  return path
}
const random = (change: Partial<RandomModel> = {}) =>
  randomModel({ seed: 1, vocabulary: sentencePieceVocabulary(), ...change })
const codeOf = (run: Promise<unknown>) => run.then(() => 'no error', errorCode)

/** A matrix of a bundle read back: weight = w·m·2^−exponent. */
function decodeRows(tiles: readonly Uint8Array[], rows: number, columns: number) {
  const padded = Math.ceil(columns / 32) * 32
  const perTile = tileRows(columns)
  const out = Array.from({ length: rows }, () => ({ weights: new Float64Array(padded), shift: 0, bias: 0 }))
  let tile = 0
  for (let from = 0; from < rows; from += perTile)
    for (let column = 0; column < padded; column += 8192) {
      const bytes = Buffer.from(tiles[tile++]!)
      const count = Math.min(perTile, rows - from)
      const width = Math.min(8192, padded - column)
      const multipliers = count * width
      const shifts = multipliers + (count * width) / 16
      expect(bytes).toHaveLength(shifts + count * 5)
      for (let r = 0; r < count; r++) {
        const row = out[from + r]!
        row.shift = bytes.readUInt8(shifts + r)
        row.bias += bytes.readInt32LE(shifts + count + r * 4)
        for (let k = 0; k < width; k++)
          row.weights[column + k] =
            bytes.readInt8(r * width + k) *
            bytes.readUInt16LE(multipliers + (r * (width / 32) + (k >> 5)) * 2)
      }
    }
  return { rows: out, tiles: tile }
}

async function checkBundle(gguf: string, root: string): Promise<Manifest> {
  const bundle = await store.open(root)
  const leaves = await bundle.leaves(0, bundle.leafCount)
  const manifest = decodeManifest(leaves[0]!)
  const { formats } = manifest
  let next = 1 + 1 + (2 * manifest.layers + 1) * Math.ceil(manifest.width / 1024)
  let worst = 0
  const shifts = new Set<number>()
  await withGguf(gguf, async (header, file) => {
    const model = sourceModel(header)
    const valueRows = (model.heads + model.kvHeads) * model.headSize
    for (const source of linearSources(model)) {
      const decoded = decodeRows(leaves.slice(next), source.rows, source.columns)
      next += decoded.tiles
      const read = await source.open(file)
      for (const [r, row] of decoded.rows.entries()) {
        const { values, factor, bias } = await read(r)
        const { input, output } = rowFormats(source.kind, r, valueRows, formats)
        const unit = 2 ** -(row.shift - input + output)
        shifts.add(row.shift)
        worst = Math.max(worst, Math.abs(row.bias * 2 ** -output - bias * factor) * 2 ** output)
        for (let g = 0; g < values.length; g += 32) {
          const end = Math.min(values.length, g + 32)
          let greatest = 0
          for (let k = g; k < end; k++) greatest = Math.max(greatest, Math.abs(values[k]! * factor))
          // Half a step of int8, and half a step of the multiplier times 127.
          const allowed = 1e-300 + greatest / 127 / 2 + 64 * unit
          for (let k = g; k < end; k++)
            worst = Math.max(worst, Math.abs(row.weights[k]! * unit - values[k]! * factor) / allowed)
        }
      }
    }
  })
  expect(worst).toBeLessThanOrEqual(1.01)
  expect(Math.min(...shifts)).toBeGreaterThanOrEqual(1)
  expect(Math.max(...shifts)).toBeLessThanOrEqual(56)
  const pieces = leaves.slice(next, next + Math.ceil(manifest.vocab / 64))
  const tokenizer = decodeTokenizerSection(Buffer.concat(leaves.slice(next + pieces.length)))
  expect(Buffer.concat(leaves.slice(next + pieces.length))).toHaveLength(manifest.tokenizerBytes)
  const first = pieces[0]!
  const count = Math.min(64, manifest.vocab)
  let at = count * 2
  for (let id = 0; id < count; id++) {
    const length = Buffer.from(first).readUInt16LE(id * 2)
    expect(Buffer.from(first.subarray(at, at + length))).toEqual(Buffer.from(tokenizer.piece(id)))
    at += length
  }
  for (const i of [0, 1, next, bundle.leafCount - 1])
    expect(
      verifyMerklePath(
        fromBase64Url(root),
        bundle.leafCount,
        i,
        merkleLeaf('apus.machine.1/bundle', leaves[i]!),
        bundle.path(i),
      ),
    ).toBe(true)
  await bundle.close()
  return manifest
}

describe('importing a model', () => {
  it('keeps every weight of the embedded model to half a step, and its tokenizer and frame', async () => {
    const steps: string[] = []
    const root = await importGguf(EMBEDDED_Q8, store.folder, {
      ...options,
      onProgress: p => {
        expect(p.done).toBeLessThanOrEqual(p.total)
        if (steps.at(-1) !== p.step) steps.push(p.step)
      },
    })
    expect(steps).toEqual(['reading', 'probing', 'writing'])
    const manifest = await checkBundle(EMBEDDED_Q8, root)
    expect(manifest).toMatchObject({
      machine: 1,
      name: 'Apus Dictionary 2.8M',
      layers: 6,
      width: 192,
      heads: 6,
      kvHeads: 3,
      headSize: 32,
      hidden: 512,
      vocab: 2048,
      context: 256,
      tied: true,
      stop: [2],
    })
    expect(manifest.epsilon).toBe(Math.round(192 * Math.fround(1e-5) * 2 ** (2 * manifest.formats.residual)))
    const bundle = await store.open(root)
    const tail = await bundle.leaves(
      bundle.leafCount - Math.ceil(manifest.tokenizerBytes / 16384),
      bundle.leafCount,
    )
    const tokenizer = decodeTokenizerSection(Buffer.concat(tail))
    expect(tokenizer.tokenize('What is a river?', 'text')).toEqual([
      1, 259, 1981, 264, 271, 277, 307, 978, 1986, 13, 1999, 1981,
    ])
    await bundle.close()
  })

  const shapes: Readonly<Record<string, Partial<RandomModel>>> = {
    'Qwen2 with biases': {
      architecture: 'qwen2',
      vocabulary: bpeVocabulary('qwen2'),
      heads: 4,
      kvHeads: 2,
      layers: 2,
      hidden: 96,
    },
    'halves, tied, no width a multiple of 32': {
      type: 'F16',
      heads: 3,
      kvHeads: 3,
      headSize: 8,
      hidden: 40,
      tied: true,
    },
    'bfloat16 and five heads on one': {
      type: 'BF16',
      heads: 5,
      kvHeads: 1,
      headSize: 32,
      hidden: 200,
      layers: 3,
    },
    Q8_0: { type: 'Q8_0', heads: 4, kvHeads: 4, hidden: 128, tied: true },
    'two segments': { heads: 2, headSize: 8, hidden: 8448 },
  }
  for (const [name, shape] of Object.entries(shapes))
    it(`does so for ${name}`, async () => {
      const gguf = await write(`${name}.gguf`, random({ seed: name.length, ...shape }))
      await checkBundle(gguf, await importGguf(gguf, store.folder, options))
    })

  it('gives the same roots on every machine', async () => {
    const roots = {
      q8_0: 'o4a_URnKlQV-oV9YYILVtF20YxfcLu15w-gFlzSnx9c',
      f16: '5b4SqCy4oP_vxKw1bMSx3Mn7zLgF3OmXG35GOSWMSgs',
    }
    for (const [type, root] of Object.entries(roots))
      expect(await importGguf(EMBEDDED_Q8.replace('q8_0', type), store.folder, options), type).toBe(root)
  })

  it('turns half-split pairs into neighbours', async () => {
    const gguf = await write(
      'halves.gguf',
      random({
        architecture: 'qwen2',
        vocabulary: bpeVocabulary('qwen2'),
        headSize: 16,
        heads: 2,
        kvHeads: 1,
      }),
    )
    await withGguf(gguf, async (header, file) => {
      const model = sourceModel(header)
      const qkv = await linearSources(model)
        .find(s => s.kind === 'qkv')!
        .open(file)
      const plain = await linearSources({ ...model, pairing: 'adjacent' })
        .find(s => s.kind === 'qkv')!
        .open(file)
      const order = [0, 8, 1, 9, 2, 10, 3, 11, 4, 12, 5, 13, 6, 14, 7, 15]
      for (const head of [0, 16, 32])
        for (const [i, from] of order.entries()) expect(await qkv(head + i)).toEqual(await plain(head + from))
      for (let r = 48; r < 64; r++) expect(await qkv(r)).toEqual(await plain(r))
    })
  })

  it('gives the same root again, also after being stopped at any point', async () => {
    const gguf = await write('stopped.gguf', random({ seed: 9, layers: 3 }))
    const root = await importGguf(gguf, join(folder, 'straight'), options)
    const where = join(folder, 'stopped')
    let stops = 0
    for (let limit = 1; ; limit += 3) {
      const stop = new AbortController()
      let count = 0
      const run = importGguf(gguf, where, {
        ...options,
        signal: stop.signal,
        onProgress: () => ++count === limit && stop.abort(),
      })
      const result = await run.catch(error => {
        expect(errorCode(error)).toBe('aborted')
        stops++
        return undefined
      })
      const [work] = (await readdir(where).catch(() => [])).filter(name => name.startsWith('.importing-'))
      if (result !== undefined) {
        expect(result).toBe(root)
        expect(work).toBeUndefined()
        break
      }
      // What a crash leaves: bytes beyond the last mark, and a mark that was cut.
      if (work !== undefined) {
        for (const name of ['bundle', 'leaves'])
          await writeFile(join(where, work, name), 'rubbish', { flag: 'a' })
        await writeFile(join(where, work, 'import.journal'), '{"leaves":', { flag: 'a' })
      }
    }
    expect(stops).toBeGreaterThan(3)
    expect(await readFile(join(where, root, 'bundle'))).toEqual(
      await readFile(join(folder, 'straight', root, 'bundle')),
    )
  })

  it('lets one of two imports of the same model through, and does not wait for an import that died', async () => {
    const gguf = await write('twice.gguf', random({ seed: 12 }))
    const where = join(folder, 'twice')
    const results = await Promise.allSettled([
      importGguf(gguf, where, options),
      importGguf(gguf, where, options),
    ])
    const roots = results.flatMap(r => (r.status === 'fulfilled' ? [r.value] : []))
    for (const r of results) if (r.status === 'rejected') expect(errorCode(r.reason)).toBe('import-busy')
    await new ModelStore(where).verify(roots[0]!)
    expect((await readdir(where)).sort()).toEqual([...new Set(roots)])

    const lock = join(folder, 'lock')
    await writeFile(lock, 'of the dead')
    expect(await exclusively(lock, () => codeOf(exclusively(lock, async () => 'no')))).toBe('import-busy')
    expect(await readdir(folder)).not.toContain('lock')
  })

  it('refuses models that the machine cannot run, with a code', async () => {
    const refused = async (change: Partial<RandomModel>) =>
      codeOf(importGguf(await write('bad.gguf', random(change)), store.folder, options))
    expect(await refused({ extra: { 'general.architecture': ['text', 'mamba'] } })).toBe('model-unsupported')
    expect(await refused({ extra: { 'llama.expert_count': ['u32', 8] } })).toBe('model-unsupported')
    expect(await refused({ extra: { 'llama.rope.dimension_count': ['u32', 8] } })).toBe('model-unsupported')
    expect(await refused({ extra: { 'llama.rope.scaling.type': ['text', 'yarn'] } })).toBe(
      'model-unsupported',
    )
    expect(await refused({ extra: { 'llama.block_count': ['u32', 2] } })).toBe('gguf-corrupt')
    expect(await refused({ extra: { 'llama.block_count': ['u32', 2 ** 30] } })).toBe('gguf-corrupt')
    expect(await refused({ extra: { 'llama.feed_forward_length': ['u32', 63] } })).toBe('gguf-corrupt')
    expect(await refused({ extra: { 'tokenizer.ggml.model': ['text', 'bert'] } })).toBe(
      'tokenizer-unsupported',
    )
    expect(await codeOf(importGguf(join(folder, 'none.gguf'), store.folder, options))).toBe('gguf-missing')
    expect(await refused({ extra: { 'llama.embedding_length': ['u32', 2 ** 31] } })).toBe('gguf-corrupt')
    expect(await refused({ extra: { 'llama.attention.layer_norm_rms_epsilon': ['f32', Number.NaN] } })).toBe(
      'gguf-corrupt',
    )
    expect(await refused({ extra: { 'tokenizer.ggml.bos_token_id': ['u32', 99_999] } })).toBe(
      'tokenizer-invalid',
    )
    expect(await refused({ extra: { 'tokenizer.ggml.tokens': ['texts', ['a', 'b']] } })).toBe(
      'tokenizer-invalid',
    )
    // Weights that no number stands for, in a plain type and in the scale of a block.
    const spoiled = async (type: 'F32' | 'Q8_0', change: (file: Buffer) => unknown) => {
      const file = random({ type })
      change(file)
      return codeOf(importGguf(await write('spoiled.gguf', file), store.folder, options))
    }
    const PADDING = 12
    for (const value of [Number.NaN, Number.POSITIVE_INFINITY, Number.NEGATIVE_INFINITY])
      expect(await spoiled('F32', file => file.writeFloatLE(value, file.length - 4))).toBe('gguf-not-finite')
    expect(await spoiled('Q8_0', file => file.writeUInt16LE(0x7c00, file.length - PADDING - 34))).toBe(
      'gguf-not-finite',
    )
    const type = (file: Buffer, id: number) =>
      file.writeUInt32LE(id, file.indexOf('output_norm.weight') + 'output_norm.weight'.length + 4 + 8)
    expect(await spoiled('F32', file => type(file, 26))).toBe('gguf-unsupported')
  })
})

describe('the store of bundles', () => {
  it('lists, verifies, finds a flipped bit and a missing byte, and removes', async () => {
    const own = new ModelStore(join(folder, 'own'))
    expect(await own.list()).toEqual([])
    const root = await importGguf(await write('own.gguf', random({ seed: 4 })), own.folder, options)
    expect(await own.list()).toEqual([{ root, name: 'Random 4', context: 64, bytes: expect.any(Number) }])
    let seen = 0
    await own.verify(root, (done, total) => {
      seen = done / total
    })
    expect(seen).toBe(1)
    expect(await codeOf(own.verify(root, undefined, AbortSignal.abort()))).toBe('aborted')

    const file = join(own.path(root), 'bundle')
    await copyFile(file, join(folder, 'good'))
    const bytes = await readFile(file)
    bytes[bytes.length >> 1]! ^= 1
    await writeFile(file, bytes)
    expect(await codeOf(own.verify(root))).toBe('bundle-corrupt')
    const flipped = await own.open(root)
    const read = () => Array.from({ length: flipped.leafCount }, (_, i) => flipped.leaf(i))
    expect(read).toThrow(expect.objectContaining({ code: 'bundle-corrupt' }))
    await flipped.close()
    await truncate(file, bytes.length - 1)
    expect(await codeOf(own.open(root))).toBe('bundle-corrupt')
    await copyFile(join(folder, 'good'), file)
    await own.verify(root)

    // What is no bundle of the machine, though every byte of it is what its root says.
    const good = await own.open(root)
    const weights = (await good.leaves(0, good.leafCount)).map(leaf => Uint8Array.from(leaf))
    expect(weights.map((_, i) => good.leaf(i))).toEqual(weights)
    expect(() => good.leaf(good.leafCount)).toThrow(RangeError)
    await good.close()
    const first = weights.findIndex(leaf => leaf.length > 1500)
    const forge = await BundleWriter.open(join(own.folder, '.forged'))
    for (const [i, leaf] of weights.entries()) await forge.append(i === first ? leaf.with(0, 128) : leaf)
    await forge.mark('all')
    const forged = await forge.finish(own.folder)
    expect(await codeOf(own.verify(forged))).toBe('bundle-invalid')
    await rename(own.path(forged), join(folder, 'forged'))

    // A bundle under another's name, and one whose list of leaves was cut together with it.
    await cp(own.path(root), own.path(forged), { recursive: true })
    expect(await codeOf(own.open(forged))).toBe('bundle-corrupt')
    await own.remove(forged)
    const lengths = weights.map(leaf => leaf.length)
    await truncate(
      file,
      lengths.slice(0, -1).reduce((a, b) => a + b, 0),
    )
    await truncate(join(own.path(root), 'leaves'), 36 * (lengths.length - 1))
    expect(await codeOf(own.verify(root))).toBe('bundle-corrupt')

    const other = `${root.slice(0, -1)}${root.endsWith('A') ? 'E' : 'A'}`
    expect(await codeOf(own.open(other))).toBe('bundle-missing')
    expect(() => own.path('../../etc')).toThrow(expect.objectContaining({ code: 'model-unknown' }))
    await own.remove(root)
    expect(await codeOf(own.remove(root))).toBe('bundle-missing')
    expect(await own.list()).toEqual([])
  })
})
