import { mkdtemp, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { errorCode } from '@apus/shared/kit'
import fc from 'fast-check'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { type Gguf, withGguf } from '../../../../../node/src/models/gguf/read-gguf.ts'
import { randomModel } from '../../../../support/gguf/random-model.ts'
import { sentencePieceVocabulary } from '../../../../support/gguf/vocabularies.ts'
import { encodeGguf, type GgufToWrite } from '../../../../support/gguf/write-gguf.ts'

let folder: string
let count = 0

beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'apus-gguf-'))
})
afterAll(() => rm(folder, { recursive: true }))

async function read(bytes: Uint8Array): Promise<Gguf> {
  const path = join(folder, `${count++}.gguf`)
  await writeFile(path, bytes)
  return withGguf(path, async gguf => gguf)
}
const codeOf = (bytes: Uint8Array) => read(bytes).then(() => 'no error', errorCode)

const small = (change: Partial<GgufToWrite> = {}): GgufToWrite => ({
  metadata: { 'general.architecture': ['text', 'llama'] },
  tensors: [{ name: 'a', shape: [2, 3], type: 0, data: new Uint8Array(24) }],
  ...change,
})

/** The bytes with the first u64 after `after` replaced. */
function patchU64(bytes: Buffer, after: string, value: bigint): Buffer {
  const copy = Buffer.from(bytes)
  copy.writeBigUInt64LE(value, copy.indexOf(after) + after.length)
  return copy
}

describe('reading GGUF', () => {
  it('reads metadata of every kind and tensors in versions 2 and 3', async () => {
    for (const version of [2, 3]) {
      const gguf = await read(
        encodeGguf(
          small({
            version,
            metadata: {
              'general.architecture': ['text', 'llama'],
              'a.u32': ['u32', 4_294_967_295],
              'a.i32': ['i32', -5],
              'a.u64': ['u64', 2 ** 40],
              'a.f32': ['f32', 0.5],
              'a.bool': ['bool', true],
              'a.texts': ['texts', ['x', 'äöü', '']],
              'a.i32s': ['i32s', [1, -2]],
              'a.f32s': ['f32s', [1.5]],
            },
            tensors: [
              { name: 'a', shape: [2, 3], type: 0, data: new Uint8Array(24) },
              { name: 'b', shape: [32], type: 8, data: new Uint8Array(34) },
            ],
          }),
        ),
      )
      expect(gguf.version).toBe(version)
      expect(Object.fromEntries(gguf.metadata)).toEqual({
        'general.architecture': 'llama',
        'a.u32': 4_294_967_295,
        'a.i32': -5,
        'a.u64': 2 ** 40,
        'a.f32': 0.5,
        'a.bool': true,
        'a.texts': ['x', 'äöü', ''],
        'a.i32s': [1, -2],
        'a.f32s': [1.5],
      })
      const [a, b] = [gguf.tensors.get('a')!, gguf.tensors.get('b')!]
      expect(a).toMatchObject({ shape: [2, 3], bytes: 24, type: { name: 'F32' } })
      expect(b).toMatchObject({ bytes: 34, offset: a.offset + 32 })
      expect(b.offset + 64).toBe(gguf.fileBytes)
    }
  })

  it('names what is wrong with a file', async () => {
    const good = encodeGguf(small())
    expect(await codeOf(good)).toBe('no error')
    expect(await codeOf(new Uint8Array(0))).toBe('gguf-corrupt')
    expect(await codeOf(Buffer.from('PK\x03\x04 not a model'))).toBe('gguf-corrupt')
    expect(await codeOf(encodeGguf(small({ version: 1 })))).toBe('gguf-unsupported')
    expect(await codeOf(good.subarray(0, good.length - 16))).toBe('gguf-truncated')
    expect(await codeOf(patchU64(good, 'GGUF\x03\0\0\0', 1n << 40n))).toBe('gguf-absurd')
    expect(await codeOf(patchU64(good, 'general.architecture\x08\0\0\0', 1n << 63n))).toBe('gguf-absurd')
    expect(await codeOf(patchU64(good, 'general.architecture\x08\0\0\0', 1000n))).toBe('gguf-truncated')
    const two = (second: string, data = 24) =>
      encodeGguf(
        small({
          tensors: [small().tensors[0]!, { name: second, shape: [6], type: 0, data: new Uint8Array(data) }],
        }),
      )
    expect(await codeOf(two('a'))).toBe('gguf-corrupt')
    expect(await codeOf(two('b', 0))).toBe('gguf-truncated')
    const shape = (shape: number[], type = 0) =>
      encodeGguf(small({ tensors: [{ name: 'a', shape, type, data: new Uint8Array(64) }] }))
    expect(await codeOf(shape([]))).toBe('gguf-absurd')
    expect(await codeOf(shape([1, 1, 1, 1, 1]))).toBe('gguf-absurd')
    expect(await codeOf(shape([0]))).toBe('gguf-absurd')
    expect(await codeOf(shape([2 ** 40]))).toBe('gguf-absurd')
    expect(await codeOf(shape([2 ** 30, 2 ** 30]))).toBe('gguf-absurd')
    expect(await codeOf(shape([33], 8))).toBe('gguf-corrupt')
    expect(await codeOf(shape([1], 999))).toBe('gguf-unsupported')
    const alignment = (n: number) => encodeGguf(small({ metadata: { 'general.alignment': ['u32', n] } }))
    expect(await codeOf(alignment(0))).toBe('gguf-corrupt')
    expect(await codeOf(alignment(12))).toBe('gguf-corrupt')
    const overlapping = Buffer.from(two('b'))
    overlapping.writeBigUInt64LE(0n, overlapping.lastIndexOf('b') + 1 + 4 + 8 + 4)
    expect(await codeOf(overlapping)).toBe('gguf-corrupt')
    const notText = encodeGguf(small({ metadata: { x: ['texts', ['abc']] } }))
    notText[notText.indexOf('abc')] = 0xff
    expect(await codeOf(notText)).toBe('gguf-corrupt')
    expect(await withGguf(join(folder, 'none'), async () => {}).catch(errorCode)).toBe('gguf-missing')
  })

  it('refuses every truncation and never crashes on a changed byte', async () => {
    const bytes = randomModel({ seed: 1, vocabulary: sentencePieceVocabulary() })
    const header = bytes.indexOf('output.weight') + 64
    await fc.assert(
      fc.asyncProperty(fc.integer({ min: 0, max: bytes.length - 33 }), async cut => {
        expect(await codeOf(bytes.subarray(0, cut))).toMatch(/^gguf-/)
      }),
      { numRuns: 60, seed: 7 },
    )
    await fc.assert(
      fc.asyncProperty(
        fc.integer({ min: 0, max: header }),
        fc.integer({ min: 1, max: 255 }),
        async (at, change) => {
          const copy = Buffer.from(bytes)
          copy[at]! ^= change
          expect(await codeOf(copy)).toMatch(/^(gguf-\w+|gguf-not-finite|no error)$/)
        },
      ),
      { numRuns: 300, seed: 8 },
    )
  })
})
