import { maxAbs, rs, rsBig, satBig } from './numbers.ts'
import { cosine, sine } from './scalars.ts'
import { PAGE_ROWS } from './sizes.ts'

export const QUERY_LIMIT = 2047
export const CACHE_LIMIT = 32_640

/** Values of one head with a shared exponent: value ≈ v·2^e. */
export interface Row {
  readonly e: number
  readonly v: Int16Array
}

/** Angle of the position for a frequency in turns·2^44, in units of 2^−21 turns. */
export function angle(position: number, frequency: bigint): number {
  const turns = (BigInt(position) * frequency) & ((1n << 44n) - 1n)
  return Number(((turns + (1n << 22n)) >> 23n) & ((1n << 21n) - 1n))
}

/** Adjacent values turned by the angle of their pair. */
export function rotate(values: Int32Array, frequencies: BigUint64Array, position: number): Int32Array {
  const out = new Int32Array(values.length)
  for (let i = 0; i < values.length; i += 2) {
    const u = angle(position, frequencies[i / 2] as bigint)
    const c = BigInt(cosine(u))
    const s = BigInt(sine(u))
    const a = BigInt(values[i] as number)
    const b = BigInt(values[i + 1] as number)
    out[i] = satBig(rsBig(a * c - b * s, 30))
    out[i + 1] = satBig(rsBig(a * s + b * c, 30))
  }
  return out
}

/** The row of these values with the least exponent that keeps them within the limit. */
export function rowOf(values: Int32Array, limit: number): Row {
  const most = maxAbs(values)
  let e = 0
  while (rs(most, e) > limit) e++
  return { e, v: Int16Array.from(values, v => rs(v, e)) }
}

/** `u8 e ‖ i16[head size]`. */
export function encodeRow({ e, v }: Row): Uint8Array {
  const leaf = Buffer.alloc(1 + v.length * 2)
  leaf.writeUInt8(e)
  for (const [i, value] of v.entries()) leaf.writeInt16LE(value, 1 + i * 2)
  return new Uint8Array(leaf)
}

export function decodeRow(leaf: Uint8Array): Row {
  const bytes = Buffer.from(leaf)
  const v = Int16Array.from({ length: (bytes.length - 1) / 2 }, (_, i) => bytes.readInt16LE(1 + i * 2))
  return { e: bytes.readUInt8(0), v }
}

/** A copy of an encoded page with its first `rows` rows; the others are zero. */
export function firstRows(page: Uint8Array, rows: number): Uint8Array {
  const headSize = (page.length / PAGE_ROWS - 1) / 2
  const copy = new Uint8Array(page).fill(0, rows, PAGE_ROWS)
  return copy.fill(0, PAGE_ROWS + rows * headSize * 2)
}

/** 64 rows of keys or values of one head; rows not written are zero. */
export class Page {
  readonly e = new Uint8Array(PAGE_ROWS)
  readonly v: Int16Array
  readonly headSize: number

  constructor(headSize: number) {
    this.headSize = headSize
    this.v = new Int16Array(PAGE_ROWS * headSize)
  }

  set(row: number, { e, v }: Row): void {
    this.e[row] = e
    this.v.set(v, row * this.headSize)
  }

  row(row: number): Row {
    return { e: this.e[row] as number, v: this.v.slice(row * this.headSize, (row + 1) * this.headSize) }
  }

  /** `u8 e[64] ‖ i16[64][head size]`. */
  encode(): Uint8Array {
    return new Uint8Array(
      Buffer.concat([this.e, new Uint8Array(this.v.buffer, this.v.byteOffset, this.v.byteLength)]),
    )
  }

  static decode(bytes: Uint8Array, headSize: number): Page {
    if (bytes.length !== PAGE_ROWS * (1 + 2 * headSize)) throw new RangeError('a page has another length')
    const page = new Page(headSize)
    page.e.set(bytes.subarray(0, PAGE_ROWS))
    page.v.set(new Int16Array(new Uint8Array(bytes.subarray(PAGE_ROWS)).buffer))
    return page
  }
}
