// biome-ignore-all lint/correctness/useImportExtensions: the AssemblyScript compiler appends the extension.
import { SAT } from './scalar'

// A tensor in memory is a list of blocks of eight rows. A block: for each group of 32 columns the multipliers (u16) of the eight
// rows; then for each group the 32 weights of row 0, of row 1, …; then eight shifts (u8) and eight biases (i32). That is the
// order in which the linear kernel reads them, so a tensor is one stream. Rows behind the last are zero.

/** Rows of a block. */
export const ROWS: i32 = 8
/** Columns of a bundle's tile at most. */
export const SEGMENT: i32 = 8192
const MAX_MULTIPLIER: u16 = 2047

/** Bytes from one block to the next; `columns` is a multiple of 32. */
export function blockBytes(columns: i32): i32 {
  return ((columns << 3) + (columns >> 1) + 40 + 63) & ~63
}

/** Bytes from a block's beginning to its weights. */
export function weightsAt(columns: i32): i32 {
  return columns >> 1
}

/** Bytes from a block's beginning to its shifts; the biases follow them. */
export function shiftsAt(columns: i32): i32 {
  return (columns << 3) + (columns >> 1)
}

/**
 * Whether every number of a bundle's tile is one that the bounds of the machine were proven for: weights ≥ −127 and zero behind
 * column `used`, multipliers ≤ 2047, shifts from `minShift` to `maxShift`, biases within ±SAT, and zero unless `biased`.
 */
export function tileInDomain(
  tile: usize,
  rows: i32,
  columns: i32,
  used: i32,
  minShift: i32,
  maxShift: i32,
  biased: bool,
): bool {
  const multipliers = tile + <usize>(rows * columns)
  const shifts = multipliers + <usize>((rows * columns) >> 4)
  const biases = shifts + <usize>rows
  const forbidden = i8x16.splat(-128)
  let bad = i8x16.splat(0)
  for (let at = tile; at < multipliers; at += 16) bad = v128.or(bad, i8x16.eq(v128.load(at), forbidden))
  if (v128.any_true(bad)) return false
  for (let at = multipliers; at < shifts; at += 2) if (load<u16>(at) > MAX_MULTIPLIER) return false
  for (let r = 0; r < rows; r++) {
    const shift = <i32>load<u8>(shifts + <usize>r)
    if (shift < minShift || shift > maxShift) return false
    const bias = <i64>load<i32>(biases + ((<usize>r) << 2))
    if (biased ? abs<i64>(bias) > SAT : bias !== 0) return false
    for (let k = used; k < columns; k++) if (load<i8>(tile + <usize>(r * columns + k)) !== 0) return false
  }
  return true
}

/**
 * Copies a bundle's tile of `rows` rows from row `row` on into a tensor of `columns` columns. False when the tile is not of the first
 * segment and has other shifts than the first.
 */
export function packTile(tile: usize, rows: i32, segment: i32, row: i32, tensor: usize, columns: i32): bool {
  const wide = min(SEGMENT, columns - segment * SEGMENT)
  const groups = wide >> 5
  const multipliers = tile + <usize>(rows * wide)
  const shifts = multipliers + <usize>((rows * wide) >> 4)
  const biases = shifts + <usize>rows
  const firstGroup = (<usize>segment) << 8
  for (let r = 0; r < rows; r++) {
    const block = tensor + <usize>((row + r) >> 3) * <usize>blockBytes(columns)
    const inBlock = <usize>((row + r) & 7)
    const weights = block + <usize>weightsAt(columns) + (firstGroup << 8) + (inBlock << 5)
    const packed = block + (firstGroup << 4) + (inBlock << 1)
    for (let g: usize = 0; g < <usize>groups; g++) {
      const from = tile + <usize>(r * wide) + (g << 5)
      v128.store(weights + (g << 8), v128.load(from))
      v128.store(weights + (g << 8), v128.load(from, 16), 16)
      store<u16>(packed + (g << 4), load<u16>(multipliers + ((<usize>(r * groups) + g) << 1)))
    }
    const shift = block + <usize>shiftsAt(columns) + inBlock
    const own = load<u8>(shifts + <usize>r)
    if (segment === 0) {
      store<u8>(shift, own)
      store<i32>(block + <usize>shiftsAt(columns) + 8 + (inBlock << 2), load<i32>(biases + ((<usize>r) << 2)))
    } else if (load<u8>(shift) !== own) return false
  }
  return true
}
