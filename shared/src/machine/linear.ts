import { rs, rsBig, sat, satBig } from './numbers.ts'
import { type A8, secondScale } from './quantizer.ts'
import { A8_BLOCK, GROUP, MAX_TILE_ROWS, SEGMENT, TILE_WEIGHTS } from './sizes.ts'

/** Rows of a matrix over one segment of its columns, as a bundle's leaf holds them. */
export interface Tile {
  readonly rows: number
  /** Columns, padded to 32. */
  readonly columns: number
  readonly weights: Int8Array
  readonly multipliers: Uint16Array
  readonly shifts: Uint8Array
  readonly biases: Int32Array
}

/** Rows of a tile for a matrix of this many columns: the largest power of two up to 64 with ≤ 16,384 weights. */
export function tileRows(columns: number): number {
  const width = Math.min(Math.ceil(columns / GROUP) * GROUP, SEGMENT)
  let rows = MAX_TILE_ROWS
  while (rows * width > TILE_WEIGHTS) rows /= 2
  return rows
}

/** Reads `i8 w ‖ u16 m ‖ u8 shift ‖ i32 bias`; a leaf of another length is a RangeError. */
export function decodeTile(leaf: Uint8Array, rows: number, columns: number): Tile {
  const groups = columns / GROUP
  const multipliersAt = rows * columns
  const shiftsAt = multipliersAt + rows * groups * 2
  const biasesAt = shiftsAt + rows
  if (leaf.length !== biasesAt + rows * 4) throw new RangeError('a tile has another length')
  const copy = new Uint8Array(leaf)
  return {
    rows,
    columns,
    weights: new Int8Array(copy.buffer, 0, rows * columns),
    multipliers: new Uint16Array(copy.buffer, multipliersAt, rows * groups),
    shifts: new Uint8Array(copy.buffer, shiftsAt, rows),
    biases: new Int32Array(copy.slice(biasesAt).buffer),
  }
}

// A block's sum times its scale passes 2^53; times one half of the scale's bits it does not, nor do 32 of them added.
const HALF = 4096

/** S of one plane of a row: exact, below 2^62. */
function dot(tile: Tile, row: number, q: Int8Array, scale: (block: number) => number, from: number): bigint {
  const { columns, weights, multipliers } = tile
  const base = row * columns
  let high = 0
  let low = 0
  for (let block = 0; block * A8_BLOCK < columns; block++) {
    let sum = 0
    const end = Math.min((block + 1) * A8_BLOCK, columns)
    for (let g = block * A8_BLOCK; g < end; g += GROUP) {
      let group = 0
      const to = Math.min(g + GROUP, q.length - from)
      for (let k = g; k < to; k++) group += (q[from + k] as number) * (weights[base + k] as number)
      sum += group * (multipliers[(base + g) / GROUP] as number)
    }
    const d = sum === 0 ? 0 : scale(from / A8_BLOCK + block)
    high += sum * Math.floor(d / HALF)
    low += sum * (d % HALF)
  }
  return BigInt(high) * BigInt(HALF) + BigInt(low)
}

/**
 * One segment's part of a row: sat(rs(S, shift) + bias).
 * @param input the whole A8 vector; @param segment which 8192 columns the tile covers
 */
export function linearRow(tile: Tile, row: number, input: A8, segment: number): number {
  const from = segment * SEGMENT
  let s = dot(tile, row, input.q, b => input.d[b] as number, from)
  if (input.q2) s += dot(tile, row, input.q2, b => secondScale(input.d[b] as number), from)
  const rounded = rsBig(s, tile.shifts[row] as number)
  return satBig(rounded + BigInt(tile.biases[row] as number))
}

/** A row of the embedding as residual values; `residual` is their fraction bits. */
export function embedRow(tile: Tile, row: number, width: number, residual: number): Int32Array {
  const es = (tile.shifts[row] as number) - 2 - residual
  const out = new Int32Array(width)
  for (let k = 0; k < width; k++) {
    const at = row * tile.columns + k
    const v = (tile.weights[at] as number) * (tile.multipliers[Math.floor(at / GROUP)] as number)
    out[k] = es >= 0 ? rs(v, es) : v * 2 ** -es
  }
  return out
}

/** Parts of the segments of a row put together. */
export const sumParts = (parts: readonly number[]): number =>
  parts.length === 1 ? (parts[0] as number) : sat(parts.reduce((a, b) => a + b, 0))
