import { describe, expect, it } from 'vitest'
import { dequantise, isReadable } from '../../../../../node/src/models/gguf/dequantise.ts'
import { GGML_TYPES } from '../../../../../node/src/models/gguf/ggml-types.ts'
import { GGML, type GgmlName } from '../../../../support/gguf/quantise-blocks.ts'
import { seededRandom } from '../../../../support/random.ts'

// A second, slow reading of the formats: every field is taken bit by bit from the block, least significant bit first.
const bitsAt = (block: Uint8Array, bit: number, count: number): number => {
  let value = 0
  for (let i = 0; i < count; i++) value += (((block[(bit + i) >> 3] ?? 0) >> ((bit + i) & 7)) & 1) * 2 ** i
  return value
}
const signed = (value: number, width: number) => (value >= 2 ** (width - 1) ? value - 2 ** width : value)

function halfAt(block: Uint8Array, byte: number): number {
  const [fraction, exponent, sign] = [
    bitsAt(block, byte * 8, 10),
    bitsAt(block, byte * 8 + 10, 5),
    bitsAt(block, byte * 8 + 15, 1),
  ]
  const size = exponent === 0 ? fraction * 2 ** -24 : (1 + fraction / 1024) * 2 ** (exponent - 15)
  return sign ? -size : size
}

// The 6-bit scales of Q4_K and Q5_K: 0..3 in the low bits of bytes 0..3, 4..7 in a nibble and two high bits; minima alike.
function kScale(block: Uint8Array, sub: number, minimum: boolean): number {
  const byte = 4 + (minimum ? 4 : 0)
  if (sub < 4) return bitsAt(block, (byte + sub) * 8, 6)
  const nibble = bitsAt(block, (8 + sub) * 8 + (minimum ? 4 : 0), 4)
  return nibble + 16 * bitsAt(block, (byte + sub - 4) * 8 + 6, 2)
}

const reference: Partial<Record<GgmlName, (block: Uint8Array, i: number) => number>> = {
  F32: b => new DataView(b.buffer, b.byteOffset).getFloat32(0, true),
  F16: b => halfAt(b, 0),
  BF16: b => {
    const bytes = new DataView(new ArrayBuffer(4))
    bytes.setUint16(2, bitsAt(b, 0, 16), true)
    return bytes.getFloat32(0, true)
  },
  Q8_0: (b, i) => halfAt(b, 0) * signed(bitsAt(b, 16 + i * 8, 8), 8),
  Q4_0: (b, i) => halfAt(b, 0) * (bitsAt(b, 16 + (i % 16) * 8 + (i < 16 ? 0 : 4), 4) - 8),
  Q4_1: (b, i) => halfAt(b, 0) * bitsAt(b, 32 + (i % 16) * 8 + (i < 16 ? 0 : 4), 4) + halfAt(b, 2),
  Q5_0: (b, i) =>
    halfAt(b, 0) * (bitsAt(b, 48 + (i % 16) * 8 + (i < 16 ? 0 : 4), 4) + 16 * bitsAt(b, 16 + i, 1) - 16),
  Q5_1: (b, i) =>
    halfAt(b, 0) * (bitsAt(b, 64 + (i % 16) * 8 + (i < 16 ? 0 : 4), 4) + 16 * bitsAt(b, 32 + i, 1)) +
    halfAt(b, 2),
  Q4_K: (b, i) => {
    const sub = Math.floor(i / 32)
    const q = bitsAt(b, (16 + 32 * Math.floor(sub / 2) + (i % 32)) * 8 + 4 * (sub % 2), 4)
    return halfAt(b, 0) * kScale(b, sub, false) * q - halfAt(b, 2) * kScale(b, sub, true)
  },
  Q5_K: (b, i) => {
    const sub = Math.floor(i / 32)
    const q =
      bitsAt(b, (48 + 32 * Math.floor(sub / 2) + (i % 32)) * 8 + 4 * (sub % 2), 4) +
      16 * bitsAt(b, (16 + (i % 32)) * 8 + sub, 1)
    return halfAt(b, 0) * kScale(b, sub, false) * q - halfAt(b, 2) * kScale(b, sub, true)
  },
  Q6_K: (b, i) => {
    const [half, quarter, l] = [Math.floor(i / 128), Math.floor(i / 32) % 4, i % 32]
    const low = bitsAt(b, (64 * half + 32 * (quarter % 2) + l) * 8 + 4 * Math.floor(quarter / 2), 4)
    const high = bitsAt(b, (128 + 32 * half + l) * 8 + 2 * quarter, 2)
    return halfAt(b, 208) * signed(bitsAt(b, (192 + Math.floor(i / 16)) * 8, 8), 8) * (low + 16 * high - 32)
  },
}

describe('dequantise', () => {
  for (const [name, valueAt] of Object.entries(reference) as [
    GgmlName,
    NonNullable<(typeof reference)['F32']>,
  ][])
    it(`restores ${name} exactly`, () => {
      const type = GGML_TYPES.get(GGML[name])!
      const random = seededRandom(GGML[name] + 1)
      const blocks = 64
      const bytes = Uint8Array.from({ length: blocks * type.bytes }, () => random.below(256))
      // Scales and plain numbers stay finite.
      for (let b = 0; b < blocks; b++)
        for (const at of name === 'Q6_K'
          ? [209]
          : name === 'F32' || name === 'BF16'
            ? [type.bytes - 1]
            : [1, 3])
          if (at < type.bytes) bytes[b * type.bytes + at]! &= 0xbb
      const out = new Float32Array(blocks * type.block)
      dequantise(type.name, bytes, out, 'w')
      const expected = Array.from(out, (_, i) => {
        const block = Math.floor(i / type.block)
        return Math.fround(
          valueAt(bytes.subarray(block * type.bytes, (block + 1) * type.bytes), i % type.block),
        )
      })
      expect(out).toEqual(Float32Array.from(expected))
      expect(new Set(out).size).toBeGreaterThan(blocks / 2)
    })

  it('knows the halves at every edge', () => {
    const cases: [number, number][] = [
      [0x0001, 2 ** -24],
      [0x03ff, 1023 * 2 ** -24],
      [0x0400, 2 ** -14],
      [0x3c00, 1],
      [0xc000, -2],
      [0x7bff, 65504],
    ]
    for (const [bits, value] of cases) {
      const out = new Float32Array(1)
      dequantise('F16', Uint8Array.of(bits & 255, bits >> 8), out, 'w')
      expect(out[0]).toBe(value)
    }
  })

  it('refuses weights that are not finite and types it cannot read, naming the tensor', () => {
    const refuse = (type: string, bytes: number[]) => () =>
      dequantise(type, Uint8Array.from(bytes), new Float32Array(1), 'blk.3.ffn_up')
    const notFinite = expect.objectContaining({
      code: 'gguf-not-finite',
      message: expect.stringContaining('blk.3.ffn_up'),
    })
    expect(refuse('F32', [0, 0, 0xc0, 0x7f])).toThrow(notFinite)
    expect(refuse('F32', [0, 0, 0x80, 0xff])).toThrow(notFinite)
    expect(refuse('F16', [0x00, 0x7c])).toThrow(notFinite)
    expect(refuse('BF16', [0x81, 0x7f])).toThrow(notFinite)
    expect(() =>
      dequantise(
        'Q8_0',
        Uint8Array.from([0, 0x7c, ...Array(32).fill(0)]),
        new Float32Array(32),
        'blk.3.ffn_up',
      ),
    ).toThrow(notFinite)
    expect(refuse('IQ4_XS', [0])).toThrow(expect.objectContaining({ code: 'gguf-unsupported' }))
    expect(isReadable('Q6_K')).toBe(true)
    expect(isReadable('Q2_K')).toBe(false)
  })
})
