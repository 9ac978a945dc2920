// biome-ignore-all lint/correctness/useImportExtensions: the AssemblyScript compiler appends the extension.
import { SAT } from './scalar'

const MAX_MULTIPLIER: u16 = 2047

/**
 * Whether every number of a tile is one that the bounds of the machine were proven for: weights ≥ −127 and zero behind column
 * `used`, multipliers ≤ 2047, shifts from `minShift` to `maxShift`, biases within ±SAT, and zero unless `biased`.
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
