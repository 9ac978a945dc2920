import { maxAbs } from './numbers.ts'
import { A8_BLOCK, LEAF_VALUES } from './sizes.ts'

export type PlaneCount = 1 | 2

/** A vector of i8 values with an integer scale per 256: value ≈ q·d, or q·d + q2·d2 with two planes. */
export interface A8 {
  readonly q: Int8Array
  readonly d: Uint32Array
  readonly q2: Int8Array | undefined
}

const nearest = (v: number, d: number): number => {
  const q = Math.floor((2 * Math.abs(v) + d) / (2 * d))
  return v < 0 ? -q : q
}

export const secondScale = (d: number): number => Math.max(1, Math.floor((d + 253) / 254))

/** Quantises values (i32); blocks start at index 0. */
export function quantize(values: ArrayLike<number>, planes: PlaneCount): A8 {
  const n = values.length
  const q = new Int8Array(n)
  const q2 = planes === 2 ? new Int8Array(n) : undefined
  const d = new Uint32Array(Math.ceil(n / A8_BLOCK))
  for (let from = 0; from < n; from += A8_BLOCK) {
    const to = Math.min(from + A8_BLOCK, n)
    const scale = Math.max(1, Math.floor((maxAbs(values, from, to) + 126) / 127))
    const scale2 = secondScale(scale)
    d[from / A8_BLOCK] = scale
    for (let i = from; i < to; i++) {
      const v = values[i] as number
      const first = nearest(v, scale)
      q[i] = first
      if (q2) q2[i] = nearest(v - first * scale, scale2)
    }
  }
  return { q, d, q2 }
}

/** The leaves of an A8 vector: 1024 values each, `i8 q ‖ u32 d ‖ i8 q2`. */
export function encodeA8({ q, d, q2 }: A8): Uint8Array[] {
  const leaves: Uint8Array[] = []
  for (let from = 0; from < q.length; from += LEAF_VALUES) {
    const to = Math.min(from + LEAF_VALUES, q.length)
    const scales = d.slice(from / A8_BLOCK, Math.ceil(to / A8_BLOCK))
    const parts = [
      bytesOf(q.subarray(from, to)),
      bytesOf(scales),
      ...(q2 ? [bytesOf(q2.subarray(from, to))] : []),
    ]
    leaves.push(new Uint8Array(Buffer.concat(parts)))
  }
  return leaves
}

/** The vector of `n` values that these leaves hold. */
export function decodeA8(leaves: readonly Uint8Array[], n: number, planes: PlaneCount): A8 {
  const q = new Int8Array(n)
  const q2 = planes === 2 ? new Int8Array(n) : undefined
  const d = new Uint32Array(Math.ceil(n / A8_BLOCK))
  for (const [i, leaf] of leaves.entries()) {
    const from = i * LEAF_VALUES
    const count = Math.min(LEAF_VALUES, n - from)
    const blocks = Math.ceil(count / A8_BLOCK)
    if (leaf.length !== count * planes + blocks * 4) throw new RangeError('an A8 leaf has another length')
    const view = new DataView(leaf.buffer, leaf.byteOffset)
    q.set(new Int8Array(leaf.buffer, leaf.byteOffset, count), from)
    for (let b = 0; b < blocks; b++) d[from / A8_BLOCK + b] = view.getUint32(count + b * 4, true)
    q2?.set(new Int8Array(leaf.buffer, leaf.byteOffset + count + blocks * 4, count), from)
  }
  return { q, d, q2 }
}

/** The bytes of a typed array, little-endian as on every machine that runs this. */
export const bytesOf = (array: ArrayBufferView): Uint8Array =>
  new Uint8Array(array.buffer, array.byteOffset, array.byteLength)
