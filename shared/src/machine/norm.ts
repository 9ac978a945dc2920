import { bitlen, maxAbs, mulrs, rs } from './numbers.ts'
import { rsqrt } from './scalars.ts'
import { NORM_BLOCK } from './sizes.ts'

/** Per 32 values the exponent s and the sum of squares of rs(|x|, s). */
export interface NormParts {
  readonly s: Uint8Array
  readonly q: Uint32Array
}

export interface NormScale {
  readonly y: number
  readonly k: number
}

export function normParts(x: Int32Array): NormParts {
  const blocks = Math.ceil(x.length / NORM_BLOCK)
  const s = new Uint8Array(blocks)
  const q = new Uint32Array(blocks)
  for (let b = 0; b < blocks; b++) {
    const from = b * NORM_BLOCK
    const to = Math.min(from + NORM_BLOCK, x.length)
    const shift = Math.max(0, bitlen(maxAbs(x, from, to)) - 13)
    let sum = 0
    for (let i = from; i < to; i++) {
      const a = rs(Math.abs(x[i] as number), shift)
      sum += a * a
    }
    s[b] = shift
    q[b] = sum
  }
  return { s, q }
}

/** The factor Y·2^−30·2^−k of a norm; `epsilon` is the manifest's. */
export function normScale({ s, q }: NormParts, epsilon: number): NormScale {
  const most = maxAbs(s)
  let w = Math.floor(epsilon / 4 ** most)
  for (const [b, sum] of q.entries()) w += Math.floor(sum / 4 ** (most - (s[b] as number)))
  const [y, h] = rsqrt(Math.max(1, w))
  return { y, k: h + most }
}

/** Normed values in Q18; gains in Q18 with √width folded in. */
export function normed(x: Int32Array, { y, k }: NormScale, gains: Int32Array): Int32Array {
  return x.map((v, i) => mulrs(mulrs(v, y, k), gains[i] as number, 30))
}

/** Per block `u8 s ‖ u32 Q`, 32 blocks (1024 values) a leaf. */
export function encodeParts({ s, q }: NormParts): Uint8Array[] {
  const leaves: Uint8Array[] = []
  for (let from = 0; from < s.length; from += NORM_BLOCK) {
    const to = Math.min(from + NORM_BLOCK, s.length)
    const leaf = Buffer.alloc((to - from) * 5)
    for (let b = from; b < to; b++) {
      leaf.writeUInt8(s[b] as number, (b - from) * 5)
      leaf.writeUInt32LE(q[b] as number, (b - from) * 5 + 1)
    }
    leaves.push(new Uint8Array(leaf))
  }
  return leaves
}

export function decodeParts(leaves: readonly Uint8Array[]): NormParts {
  const bytes = Buffer.concat(leaves)
  const blocks = bytes.length / 5
  return {
    s: Uint8Array.from({ length: blocks }, (_, b) => bytes.readUInt8(b * 5)),
    q: Uint32Array.from({ length: blocks }, (_, b) => bytes.readUInt32LE(b * 5 + 1)),
  }
}

export function encodeScale({ y, k }: NormScale): Uint8Array {
  const leaf = Buffer.alloc(5)
  leaf.writeUInt32LE(y)
  leaf.writeUInt8(k, 4)
  return new Uint8Array(leaf)
}

export function decodeScale(leaf: Uint8Array): NormScale {
  const bytes = Buffer.from(leaf)
  return { y: bytes.readUInt32LE(0), k: bytes.readUInt8(4) }
}
