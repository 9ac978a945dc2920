/** GGML's numbers of the tensor types that tests write. */
export const GGML = {
  F32: 0,
  F16: 1,
  Q4_0: 2,
  Q4_1: 3,
  Q5_0: 6,
  Q5_1: 7,
  Q8_0: 8,
  Q2_K: 10,
  Q4_K: 12,
  Q5_K: 13,
  Q6_K: 14,
  BF16: 30,
} as const

export type GgmlName = keyof typeof GGML

const f32 = new Float32Array(1)
const bits = new Uint32Array(f32.buffer)

const bitsOf = (x: number): number => {
  f32[0] = x
  return bits[0]!
}

/** The nearest half to a number of normal half range, ties to even; smaller numbers become zero. */
export function toHalf(x: number): number {
  const b = bitsOf(x)
  const sign = (b >>> 16) & 0x8000
  const exponent = ((b >>> 23) & 255) - 112
  if (exponent <= 0) return sign
  const rounded = ((exponent << 23) | (b & 0x7fffff)) + 0xfff + ((b >>> 13) & 1)
  return sign | (rounded >>> 13)
}

/** Number to bytes of a plain type, or of Q8_0 with the rounding that llama.cpp's converter uses. */
export function encodeTensor(type: 'F32' | 'F16' | 'BF16' | 'Q8_0', values: Float32Array): Uint8Array {
  if (type === 'F32') return new Uint8Array(values.slice().buffer)
  if (type === 'F16') return new Uint8Array(Uint16Array.from(values, toHalf).buffer)
  if (type === 'BF16') {
    const half = (x: number): number => {
      const b = bitsOf(x)
      return (b + 0x7fff + ((b >>> 16) & 1)) >>> 16
    }
    return new Uint8Array(Uint16Array.from(values, half).buffer)
  }
  const out = Buffer.alloc((values.length / 32) * 34)
  for (let b = 0; b * 32 < values.length; b++) {
    const block = values.subarray(b * 32, b * 32 + 32)
    const d = Math.max(...block.map(Math.abs)) / 127
    out.writeUInt16LE(toHalf(d), b * 34)
    block.forEach((x, j) => {
      out.writeInt8(d === 0 ? 0 : Math.round(x / d), b * 34 + 2 + j)
    })
  }
  return out
}
