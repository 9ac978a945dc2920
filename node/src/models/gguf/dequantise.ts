import { ggufError } from './gguf-error.ts'
import { half } from './half.ts'

type Dequantiser = (bytes: Uint8Array, out: Float32Array) => void

/** Names of the tensor types whose values `dequantise` can restore. */
export const isReadable = (type: string): boolean => dequantisers.has(type)

/**
 * The values of whole blocks of a GGUF tensor type, as float32. Every step is exact in float64 and rounded once, so
 * the values are those of llama.cpp on any machine. Errors: `gguf-unsupported`, `gguf-not-finite`.
 */
export function dequantise(type: string, bytes: Uint8Array, out: Float32Array, tensor: string): void {
  const restore = dequantisers.get(type)
  if (restore === undefined)
    throw ggufError('gguf-unsupported', `The tensor ${tensor} has type ${type}, which cannot be imported.`)
  restore(bytes, out)
  for (let i = 0; i < out.length; i++)
    if (!Number.isFinite(out[i]))
      throw ggufError('gguf-not-finite', `The tensor ${tensor} holds a weight that is not a finite number.`)
}

const at = (bytes: Uint8Array, i: number): number => bytes[i] as number
const u16 = (bytes: Uint8Array, i: number): number => at(bytes, i) | (at(bytes, i + 1) << 8)
const i8 = (bytes: Uint8Array, i: number): number => (at(bytes, i) << 24) >> 24
const f16 = (bytes: Uint8Array, i: number): number => half(u16(bytes, i))

const view = (bytes: Uint8Array): DataView => new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength)

function f32(bytes: Uint8Array, out: Float32Array): void {
  const data = view(bytes)
  for (let i = 0; i < out.length; i++) out[i] = data.getFloat32(i * 4, true)
}

function f16s(bytes: Uint8Array, out: Float32Array): void {
  for (let i = 0; i < out.length; i++) out[i] = f16(bytes, i * 2)
}

function bf16(bytes: Uint8Array, out: Float32Array): void {
  const bits = new Uint32Array(out.buffer, out.byteOffset, out.length)
  for (let i = 0; i < bits.length; i++) bits[i] = u16(bytes, i * 2) << 16
}

function q8x0(bytes: Uint8Array, out: Float32Array): void {
  for (let b = 0, y = 0; y < out.length; b += 34, y += 32) {
    const d = f16(bytes, b)
    for (let j = 0; j < 32; j++) out[y + j] = d * i8(bytes, b + 2 + j)
  }
}

function q4x0(bytes: Uint8Array, out: Float32Array): void {
  for (let b = 0, y = 0; y < out.length; b += 18, y += 32) {
    const d = f16(bytes, b)
    for (let j = 0; j < 16; j++) {
      const q = at(bytes, b + 2 + j)
      out[y + j] = d * ((q & 15) - 8)
      out[y + j + 16] = d * ((q >> 4) - 8)
    }
  }
}

function q4x1(bytes: Uint8Array, out: Float32Array): void {
  for (let b = 0, y = 0; y < out.length; b += 20, y += 32) {
    const d = f16(bytes, b)
    const m = f16(bytes, b + 2)
    for (let j = 0; j < 16; j++) {
      const q = at(bytes, b + 4 + j)
      out[y + j] = d * (q & 15) + m
      out[y + j + 16] = d * (q >> 4) + m
    }
  }
}

/** Q5_0 and Q5_1: four low bits as Q4, the fifth of element j in bit j of a u32. */
function q5(bytes: Uint8Array, out: Float32Array, hasMinimum: boolean): void {
  const header = hasMinimum ? 4 : 2
  for (let b = 0, y = 0; y < out.length; b += header + 20, y += 32) {
    const d = f16(bytes, b)
    const high = u16(bytes, b + header) | (u16(bytes, b + header + 2) << 16)
    const restore = hasMinimum ? (q: number) => d * q + f16(bytes, b + 2) : (q: number) => d * (q - 16)
    for (let j = 0; j < 16; j++) {
      const q = at(bytes, b + header + 4 + j)
      out[y + j] = restore((q & 15) | (((high >>> j) & 1) << 4))
      out[y + j + 16] = restore((q >> 4) | (((high >>> (j + 16)) & 1) << 4))
    }
  }
}

/** The 6-bit scale and minimum of sub-block `j` (0..7) in the 12 packed bytes of Q4_K and Q5_K. */
function subScale(bytes: Uint8Array, s: number, j: number): readonly [scale: number, minimum: number] {
  if (j < 4) return [at(bytes, s + j) & 63, at(bytes, s + j + 4) & 63]
  const packed = at(bytes, s + j + 4)
  return [(packed & 15) | ((at(bytes, s + j - 4) >> 6) << 4), (packed >> 4) | ((at(bytes, s + j) >> 6) << 4)]
}

/** Q4_K and Q5_K: eight sub-blocks of 32 in pairs that share bytes; Q5_K keeps the fifth bits in 32 bytes before. */
function q45k(bytes: Uint8Array, out: Float32Array, fifth: boolean): void {
  const low = fifth ? 48 : 16
  for (let b = 0, y = 0; y < out.length; b += low + 128, y += 256) {
    const d = f16(bytes, b)
    const dmin = f16(bytes, b + 2)
    for (let j = 0; j < 8; j++) {
      const [scale, minimum] = subScale(bytes, b + 4, j)
      const from = b + low + (j >> 1) * 32
      for (let l = 0; l < 32; l++) {
        const nibble = (at(bytes, from + l) >> ((j & 1) * 4)) & 15
        const q = fifth ? nibble | (((at(bytes, b + 16 + l) >> j) & 1) << 4) : nibble
        out[y + j * 32 + l] = d * scale * q - dmin * minimum
      }
    }
  }
}

function q6k(bytes: Uint8Array, out: Float32Array): void {
  for (let b = 0, y = 0; y < out.length; b += 210, y += 256) {
    const d = f16(bytes, b + 208)
    for (let i = 0; i < 256; i++) {
      const half128 = i >> 7
      const quarter = (i >> 5) & 3
      const l = i & 31
      const low = at(bytes, b + half128 * 64 + (quarter & 1) * 32 + l) >> ((quarter >> 1) * 4)
      const high = at(bytes, b + 128 + half128 * 32 + l) >> (quarter * 2)
      const q = ((low & 15) | ((high & 3) << 4)) - 32
      out[y + i] = d * i8(bytes, b + 192 + (i >> 4)) * q
    }
  }
}

const dequantisers: ReadonlyMap<string, Dequantiser> = new Map<string, Dequantiser>([
  ['F32', f32],
  ['F16', f16s],
  ['BF16', bf16],
  ['Q8_0', q8x0],
  ['Q4_0', q4x0],
  ['Q4_1', q4x1],
  ['Q5_0', (bytes, out) => q5(bytes, out, false)],
  ['Q5_1', (bytes, out) => q5(bytes, out, true)],
  ['Q4_K', (bytes, out) => q45k(bytes, out, false)],
  ['Q5_K', (bytes, out) => q45k(bytes, out, true)],
  ['Q6_K', q6k],
])
