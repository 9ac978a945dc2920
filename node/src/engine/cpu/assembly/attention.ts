// biome-ignore-all lint/correctness/useImportExtensions: the AssemblyScript compiler appends the extension.
import { exp2n, rs, sat } from './scalar'

const PAGE: i32 = 64
const GROUP_PAGES: i32 = 64
const GROUP_ROWS: i32 = 4096

// Scratch of one call with `heads` query heads and `groups` groups, in this order.
function scoresBytes(heads: i32): i32 {
  return heads * GROUP_ROWS * 4
}
function pageMaximaBytes(heads: i32): i32 {
  return heads * GROUP_PAGES * 4
}
/** A group's partial: i32 m, i32 E, u32 sum, 4 unused bytes, i32 acc[size]. */
function partialBytes(size: i32): i32 {
  return 16 + size * 4
}

/** Scratch bytes of one attention call. */
export function attentionScratch(heads: i32, size: i32, context: i32): i32 {
  const groups = (context + GROUP_ROWS - 1) / GROUP_ROWS
  return (
    scoresBytes(heads) +
    pageMaximaBytes(heads) +
    heads * (8 + size * 8) +
    heads * groups * partialBytes(size) +
    GROUP_PAGES * 4 +
    PAGE * 4 +
    size * 8 +
    64
  )
}

/**
 * Attention of the query heads of one key/value head at position t. `queries`: i16[size] per head, `exponents`: i32 per head.
 * `table` lists the addresses of the sequence's page slots; the keys' page stands `offset` bytes into a slot, the values' behind
 * it. `out`: i32[size] per head.
 */
export function attention(
  queries: usize,
  exponents: usize,
  heads: i32,
  size: i32,
  t: i32,
  qk: i32,
  table: usize,
  offset: usize,
  out: usize,
  scratch: usize,
): void {
  const scores = scratch
  const pageMaxima = scores + <usize>scoresBytes(heads)
  const sums = pageMaxima + <usize>pageMaximaBytes(heads)
  const accumulators = sums + ((<usize>heads) << 3)
  const partials = accumulators + ((<usize>(heads * size)) << 3)
  const groups = t / GROUP_ROWS + 1
  const pageExponents = partials + <usize>(heads * groups * partialBytes(size))
  const weights = pageExponents + <usize>(GROUP_PAGES * 4)
  const headSums = weights + <usize>(PAGE * 4)
  const pageBytes = <usize>(PAGE + PAGE * size * 2)

  for (let group = 0; group < groups; group++) {
    const first = group * GROUP_PAGES
    const pages = min(GROUP_PAGES, (t >> 6) + 1 - first)
    let E = 0
    for (let p = 0; p < pages; p++) {
      const keys = <usize>load<u32>(table + ((<usize>(first + p)) << 2)) + offset
      const rows = min(PAGE, t + 1 - ((first + p) << 6))
      for (let h = 0; h < heads; h++) {
        const m = pageScores(
          queries + ((<usize>(h * size)) << 1),
          (qk << 1) - 16 - load<i32>(exponents + ((<usize>h) << 2)),
          keys,
          rows,
          size,
          scores + ((<usize>(h * GROUP_ROWS + (p << 6))) << 2),
        )
        store<i32>(pageMaxima + ((<usize>(h * GROUP_PAGES + p)) << 2), m)
      }
      let e = 0
      for (let j = 0; j < rows; j++) e = max(e, <i32>load<u8>(keys + pageBytes + <usize>j))
      store<i32>(pageExponents + ((<usize>p) << 2), e)
      E = max(E, e)
    }
    for (let h = 0; h < heads; h++) {
      let M = i32.MIN_VALUE
      for (let p = 0; p < pages; p++)
        M = max(M, load<i32>(pageMaxima + ((<usize>(h * GROUP_PAGES + p)) << 2)))
      const partial = partials + <usize>((h * groups + group) * partialBytes(size))
      store<i32>(partial, M)
      store<i32>(partial, E, 4)
      store<u64>(sums + ((<usize>h) << 3), 0)
      memory.fill(accumulators + ((<usize>(h * size)) << 3), 0, (<usize>size) << 3)
    }
    for (let p = 0; p < pages; p++) {
      const values = <usize>load<u32>(table + ((<usize>(first + p)) << 2)) + offset + pageBytes
      const rows = min(PAGE, t + 1 - ((first + p) << 6))
      const e = load<i32>(pageExponents + ((<usize>p) << 2))
      for (let h = 0; h < heads; h++) {
        const m = load<i32>(pageMaxima + ((<usize>(h * GROUP_PAGES + p)) << 2))
        const M = load<i32>(partials + <usize>((h * groups + group) * partialBytes(size)))
        const f = exp2n(<u32>(M - m)) >> 6
        const sum = pageWeights(
          scores + ((<usize>(h * GROUP_ROWS + (p << 6))) << 2),
          m,
          rows,
          e,
          values,
          weights,
        )
        const total = sums + ((<usize>h) << 3)
        store<u64>(total, load<u64>(total) + <u64>sum * <u64>f)
        weighValues(
          weights,
          rows,
          values,
          size,
          <i64>(f >> (E - e)),
          accumulators + ((<usize>(h * size)) << 3),
        )
      }
    }
    for (let h = 0; h < heads; h++) {
      const partial = partials + <usize>((h * groups + group) * partialBytes(size))
      store<u32>(partial, <u32>rs(load<i64>(sums + ((<usize>h) << 3)), 24), 8)
      for (let i = 0; i < size; i++) {
        const acc = load<i64>(accumulators + ((<usize>(h * size + i)) << 3))
        store<i32>(partial + 16 + ((<usize>i) << 2), <i32>rs(acc, 28))
      }
    }
  }
  for (let h = 0; h < heads; h++) {
    combineGroups(
      partials + <usize>(h * groups * partialBytes(size)),
      groups,
      size,
      headSums,
      out + ((<usize>(h * size)) << 2),
    )
  }
}

/** Scores (i32 Q16) of one query row against a page's rows; returns the greatest. `c` is the shift before the key's exponent. */
function pageScores(query: usize, c: i32, keys: usize, rows: i32, size: i32, scores: usize): i32 {
  let most = i32.MIN_VALUE
  const bytes = (<usize>size) << 1
  let key = keys + <usize>PAGE
  for (let j = 0; j < rows; j++) {
    let lanes = i32x4.splat(0)
    for (let i: usize = 0; i < bytes; i += 16) {
      lanes = i32x4.add(lanes, i32x4.dot_i16x8_s(v128.load(query + i), v128.load(key + i)))
    }
    const wide = i64x2.add(i64x2.extend_low_i32x4_s(lanes), i64x2.extend_high_i32x4_s(lanes))
    const p = i64x2.extract_lane(wide, 0) + i64x2.extract_lane(wide, 1)
    const shift = c - <i32>load<u8>(keys + <usize>j)
    const s = sat(shift > 0 ? rs(p, shift) : p << -shift)
    store<i32>(scores + ((<usize>j) << 2), s)
    most = max(most, s)
    key += bytes
  }
  return most
}

/** Writes per pair of rows the low ten and the high ten bits of the two weights, aligned to exponent e; returns the weights' sum. */
function pageWeights(scores: usize, m: i32, rows: i32, e: i32, values: usize, weights: usize): u32 {
  let sum: u32 = 0
  for (let j = 0; j < rows; j++) {
    const w = min<u32>((1 << 20) - 1, exp2n(<u32>(m - load<i32>(scores + ((<usize>j) << 2)))) >> 10)
    sum += w
    const aligned = w >> (e - <i32>load<u8>(values + <usize>j))
    const at = weights + ((<usize>(j >> 1)) << 3) + ((<usize>(j & 1)) << 1)
    store<u16>(at, <u16>(aligned & 1023))
    store<u16>(at, <u16>(aligned >> 10), 4)
  }
  if (rows & 1) {
    const at = weights + ((<usize>(rows >> 1)) << 3) + 2
    store<u16>(at, 0)
    store<u16>(at, 0, 4)
  }
  return sum
}

/** accumulators[i] += rs(Σ w_j·V_j,i, 12) · factor. */
function weighValues(
  weights: usize,
  rows: i32,
  values: usize,
  size: i32,
  factor: i64,
  accumulators: usize,
): void {
  const bytes = (<usize>size) << 1
  const pairs = (rows + 1) >> 1
  const step = bytes << 1
  for (let i: usize = 0; i < bytes; i += 16) {
    let low0 = i32x4.splat(0)
    let low1 = i32x4.splat(0)
    let high0 = i32x4.splat(0)
    let high1 = i32x4.splat(0)
    let row = values + <usize>PAGE + i
    let w = weights
    for (let j = 0; j < pairs; j++) {
      const a = v128.load(row)
      const b = v128.load(row + bytes)
      const front = i16x8.shuffle(a, b, 0, 8, 1, 9, 2, 10, 3, 11)
      const back = i16x8.shuffle(a, b, 4, 12, 5, 13, 6, 14, 7, 15)
      const low = v128.load32_splat(w)
      const high = v128.load32_splat(w, 4)
      low0 = i32x4.add(low0, i32x4.dot_i16x8_s(front, low))
      low1 = i32x4.add(low1, i32x4.dot_i16x8_s(back, low))
      high0 = i32x4.add(high0, i32x4.dot_i16x8_s(front, high))
      high1 = i32x4.add(high1, i32x4.dot_i16x8_s(back, high))
      row += step
      w += 8
    }
    const at = accumulators + (i << 2)
    addWeighed(at, i64x2.extend_low_i32x4_s(low0), i64x2.extend_low_i32x4_s(high0), factor)
    addWeighed(at + 16, i64x2.extend_high_i32x4_s(low0), i64x2.extend_high_i32x4_s(high0), factor)
    addWeighed(at + 32, i64x2.extend_low_i32x4_s(low1), i64x2.extend_low_i32x4_s(high1), factor)
    addWeighed(at + 48, i64x2.extend_high_i32x4_s(low1), i64x2.extend_high_i32x4_s(high1), factor)
  }
}

function addWeighed(at: usize, low: v128, high: v128, factor: i64): void {
  const sum = i64x2.add(low, i64x2.shl(high, 10))
  store<i64>(at, load<i64>(at) + rs(i64x2.extract_lane(sum, 0), 12) * factor)
  store<i64>(at, load<i64>(at, 8) + rs(i64x2.extract_lane(sum, 1), 12) * factor, 8)
}

function combineGroups(partials: usize, groups: i32, size: i32, sums: usize, out: usize): void {
  const bytes = <usize>partialBytes(size)
  let M = i32.MIN_VALUE
  let E = 0
  for (let g = 0; g < groups; g++) {
    M = max(M, load<i32>(partials + <usize>g * bytes))
    E = max(E, load<i32>(partials + <usize>g * bytes, 4))
  }
  let S: u64 = 0
  memory.fill(sums, 0, (<usize>size) << 3)
  for (let g = 0; g < groups; g++) {
    const partial = partials + <usize>g * bytes
    const f = exp2n(<u32>(M - load<i32>(partial))) >> 6
    S += <u64>load<u32>(partial, 8) * <u64>f
    const factor = <i64>(f >> (E - load<i32>(partial, 4)))
    for (let i: usize = 0; i < <usize>size; i++) {
      const sum = sums + (i << 3)
      store<i64>(sum, load<i64>(sum) + <i64>load<i32>(partial + 16 + (i << 2)) * factor)
    }
  }
  const z = 33 - <i32>clz<u64>(S)
  const divisor = <f64>(S >> z)
  for (let i: usize = 0; i < <usize>size; i++) {
    const A = load<i64>(sums + (i << 3))
    // Below 2^52 over below 2^31: the double quotient never reaches the next integer.
    const Q = <i64>(<f64>((<u64>abs<i64>(A) >> z) << 22) / divisor)
    const magnitude = E >= 6 ? sat(Q << (E - 6)) : <i32>rs(Q, 6 - E)
    store<i32>(out + (i << 2), A < 0 ? -magnitude : magnitude)
  }
}
