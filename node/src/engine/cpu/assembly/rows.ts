// biome-ignore-all lint/correctness/useImportExtensions: the AssemblyScript compiler appends the extension.
import { bitlen, cosine, rs, sat, sine } from './scalar'

/** Positions of a page. */
const PAGE: i32 = 64
const QUERY_LIMIT: i32 = 2047
const ROW_LIMIT: i32 = 32640

/** Cosine and sine (i32 Q30 each) of every pair of a head at position t. */
export function angles(frequencies: usize, pairs: i32, t: u32, out: usize): void {
  for (let i = 0; i < pairs; i++) {
    const turn = (<u64>t * load<u64>(frequencies + ((<usize>i) << 3))) & 0xfffffffffff
    const u = <u32>((turn + (1 << 22)) >> 23) & 0x1fffff
    store<i32>(out + ((<usize>i) << 3), cosine(u))
    store<i32>(out + ((<usize>i) << 3), sine(u), 4)
  }
}

/** Rotates `heads` heads of `size` values in place. */
export function rotate(v: usize, heads: i32, size: i32, table: usize): void {
  for (let h = 0; h < heads; h++) {
    for (let i: usize = 0; i < (<usize>size) << 2; i += 8) {
      const c = <i64>load<i32>(table + i)
      const s = <i64>load<i32>(table + i, 4)
      const a = <i64>load<i32>(v + i)
      const b = <i64>load<i32>(v + i, 4)
      store<i32>(v + i, sat(rs(a * c - b * s, 30)))
      store<i32>(v + i, sat(rs(a * s + b * c, 30)), 4)
    }
    v += (<usize>size) << 2
  }
}

/** Least e with rs(M, e) ≤ limit. */
function exponent(v: usize, size: i32, limit: i32): i32 {
  let M = 0
  for (let i: usize = 0; i < (<usize>size) << 2; i += 4) M = max(M, abs(load<i32>(v + i)))
  let e = max(0, bitlen(M) - bitlen(limit))
  while (rs(<i64>M, e) > <i64>limit) e++
  return e
}

function storeRow(v: usize, size: i32, e: i32, out: usize): void {
  const half = (1 << e) >> 1
  for (let i: usize = 0; i < <usize>size; i++) {
    store<i16>(out + (i << 1), <i16>((load<i32>(v + (i << 2)) + half) >> e))
  }
}

/** Query rows: i16 values one head behind another at `out`, exponents (i32) at `exponents`. */
export function queryRows(v: usize, heads: i32, size: i32, out: usize, exponents: usize): void {
  for (let h = 0; h < heads; h++) {
    const e = exponent(v, size, QUERY_LIMIT)
    store<i32>(exponents + ((<usize>h) << 2), e)
    storeRow(v, size, e, out)
    v += (<usize>size) << 2
    out += (<usize>size) << 1
  }
}

/** Writes row `row` of the pages of `heads` heads; pages (u8 e[64] ‖ i16[64][size]) of heads lie `stride` bytes apart. */
export function pageRows(v: usize, heads: i32, size: i32, page: usize, stride: i32, row: i32): void {
  for (let h = 0; h < heads; h++) {
    const e = exponent(v, size, ROW_LIMIT)
    store<u8>(page + <usize>row, <u8>e)
    storeRow(v, size, e, page + <usize>(PAGE + row * (size << 1)))
    v += (<usize>size) << 2
    page += <usize>stride
  }
}
