// biome-ignore-all lint/correctness/useImportExtensions: the AssemblyScript compiler appends the extension.
import { correctionsAt, planeBytes, scalesAt } from './a8'
import { rs, SAT } from './scalar'

// A tensor in memory: row blocks one behind another, each the tiles of its segments as a bundle has them, every tile
// padded to 16 bytes and every row block at the stride of a full one.
//
// relaxed_dot_i8x16_i7x16_s is exact here on every machine: its second operand is a magnitude ≤ 127 and a pair of products
// is at most 2 · 127 · 128 < 2^15. A negative activation is applied as w XOR 255 = −w − 1; the corrections add the ones back.

const SEGMENT: i32 = 8192

/** Rows of a full row block of a tensor with `columns` (padded to 32). */
export function blockRows(columns: i32): i32 {
  const c = min(columns, SEGMENT)
  let rows = 64
  while (rows * c > 16384) rows >>= 1
  return rows
}

function tileBytes(rows: i32, columns: i32): i32 {
  return (rows * (columns + (columns >> 4) + 5) + 15) & ~15
}

/** Bytes from one row block to the next. */
export function blockBytes(columns: i32): i32 {
  const rows = blockRows(columns)
  let bytes = 0
  for (let c = 0; c < columns; c += SEGMENT) bytes += tileBytes(rows, min(SEGMENT, columns - c))
  return bytes
}

/**
 * Rows of row blocks `from` to `to`: y = sat(S·2^−shift + bias) for `vectors` A8 vectors (each of `planes` planes, `stride` bytes
 * apart), stored as i32 at out + vector·outStride + row·4, or added there with saturation. `scratch` holds
 * 64 rows × vectors × planes × 8 bytes, and once more 64 × vectors × 8.
 */
export function linear(
  tensor: usize,
  rows: i32,
  n: i32,
  planes: i32,
  a8: usize,
  stride: i32,
  vectors: i32,
  out: usize,
  outStride: i32,
  add: bool,
  from: i32,
  to: i32,
  scratch: usize,
): void {
  const columns = (n + 31) & ~31
  const perBlock = blockRows(columns)
  const segments = (columns + SEGMENT - 1) / SEGMENT
  const bytes = blockBytes(columns)
  const plane = planeBytes(n)
  const sums = scratch + ((<usize>(64 * vectors * planes)) << 3)
  for (let block = from; block < to; block++) {
    const here = min(perBlock, rows - block * perBlock)
    let tile = tensor + <usize>block * <usize>bytes
    for (let s = 0; s < segments; s++) {
      const c = min(SEGMENT, columns - s * SEGMENT)
      const weights = tile
      const multipliers = weights + <usize>(here * c)
      const shifts = multipliers + <usize>((here * c) >> 4)
      const biases = shifts + <usize>here
      const lanes = vectors * planes
      // Vectors in sets of four, so that a set's activations stay near while the tile passes.
      let lane = 0
      while (lane < lanes) {
        const set = lanes - lane >= 4 ? 4 : lanes - lane >= 2 ? 2 : 1
        for (let r = 0; r < here; r += 2) {
          const w = weights + <usize>(r * c)
          const m = multipliers + <usize>((r * c) >> 4)
          const step = r + 1 < here ? 1 : 0
          const S = scratch + ((<usize>(r * lanes + lane)) << 3)
          const skipRow = ((<usize>lanes) << 3) * step
          const x0 = vectorAt(a8, stride, plane, planes, lane)
          if (set === 1) {
            pair1(w, w + <usize>(c * step), m, m + <usize>((c * step) >> 4), c, s, n, x0, S, skipRow)
          } else {
            const x1 = vectorAt(a8, stride, plane, planes, lane + 1)
            if (set === 2) {
              pair2(w, w + <usize>(c * step), m, m + <usize>((c * step) >> 4), c, s, n, x0, x1, S, skipRow)
            } else {
              const x2 = vectorAt(a8, stride, plane, planes, lane + 2)
              const x3 = vectorAt(a8, stride, plane, planes, lane + 3)
              pair4(
                w,
                w + <usize>(c * step),
                m,
                m + <usize>((c * step) >> 4),
                c,
                s,
                n,
                x0,
                x1,
                x2,
                x3,
                S,
                skipRow,
              )
            }
          }
        }
        lane += set
      }
      for (let v = 0; v < vectors; v++) {
        const y = out + <usize>(v * outStride) + ((<usize>(block * perBlock)) << 2)
        for (let r = 0; r < here; r++) {
          const S = scratch + ((<usize>(r * lanes + v * planes)) << 3)
          let sum = load<i64>(S)
          if (planes === 2) sum += load<i64>(S, 8)
          let part = rs(sum, <i32>load<u8>(shifts + <usize>r)) + <i64>load<i32>(biases + ((<usize>r) << 2))
          part = min<i64>(max<i64>(part, -SAT), SAT)
          if (segments > 1) {
            const total = sums + ((<usize>(v * 64 + r)) << 3)
            if (s > 0) part += load<i64>(total)
            if (s + 1 < segments) {
              store<i64>(total, part)
              continue
            }
            part = min<i64>(max<i64>(part, -SAT), SAT)
          }
          const at = y + ((<usize>r) << 2)
          if (add) part = min<i64>(max<i64>(part + <i64>load<i32>(at), -SAT), SAT)
          store<i32>(at, <i32>part)
        }
      }
      tile += <usize>tileBytes(here, c)
    }
  }
}

function vectorAt(a8: usize, stride: i32, plane: i32, planes: i32, lane: i32): usize {
  return planes === 2 ? a8 + <usize>((lane >> 1) * stride + (lane & 1) * plane) : a8 + <usize>(lane * stride)
}

function pair1(
  w: usize,
  v: usize,
  m: usize,
  o: usize,
  columns: i32,
  segment: i32,
  n: i32,
  x: usize,
  S: usize,
  skipRow: usize,
): void {
  let corrections = x + <usize>correctionsAt(n) + ((<usize>segment) << 9)
  let scales = x + <usize>scalesAt(n) + ((<usize>segment) << 7)
  x += (<usize>segment) << 14
  let s = i64x2.splat(0)
  let u = i64x2.splat(0)
  const end = w + <usize>columns
  while (w < end) {
    const correction = v128.load(corrections)
    let t = i32x4.dot_i16x8_s(v128.load(m), correction)
    let y = i32x4.dot_i16x8_s(v128.load(o), correction)
    const stop = min(w + 256, end)
    while (w < stop) {
      const mm = v128.load16_splat(m)
      const oo = v128.load16_splat(o)
      let a = v128.load(x)
      let g = v128.load(x, 16)
      t = i32x4.add(t, i32x4.dot_i16x8_s(i16x8.relaxed_dot_i8x16_i7x16_s(v128.xor(v128.load(w), g), a), mm))
      y = i32x4.add(y, i32x4.dot_i16x8_s(i16x8.relaxed_dot_i8x16_i7x16_s(v128.xor(v128.load(v), g), a), oo))
      a = v128.load(x, 32)
      g = v128.load(x, 48)
      t = i32x4.add(
        t,
        i32x4.dot_i16x8_s(i16x8.relaxed_dot_i8x16_i7x16_s(v128.xor(v128.load(w, 16), g), a), mm),
      )
      y = i32x4.add(
        y,
        i32x4.dot_i16x8_s(i16x8.relaxed_dot_i8x16_i7x16_s(v128.xor(v128.load(v, 16), g), a), oo),
      )
      w += 32
      v += 32
      m += 2
      o += 2
      x += 64
    }
    const d = v128.load32_splat(scales)
    s = i64x2.add(s, i64x2.add(i64x2.extmul_low_i32x4_s(t, d), i64x2.extmul_high_i32x4_s(t, d)))
    u = i64x2.add(u, i64x2.add(i64x2.extmul_low_i32x4_s(y, d), i64x2.extmul_high_i32x4_s(y, d)))
    corrections += 16
    scales += 4
  }
  // With an odd last row both halves are the same row and the same store.
  store<i64>(S, i64x2.extract_lane(s, 0) + i64x2.extract_lane(s, 1))
  store<i64>(S + skipRow, i64x2.extract_lane(u, 0) + i64x2.extract_lane(u, 1))
}

function pair2(
  w: usize,
  v: usize,
  m: usize,
  o: usize,
  columns: i32,
  segment: i32,
  n: i32,
  x0: usize,
  x1: usize,
  S: usize,
  skipRow: usize,
): void {
  let c0 = x0 + <usize>correctionsAt(n) + ((<usize>segment) << 9)
  let d0 = x0 + <usize>scalesAt(n) + ((<usize>segment) << 7)
  const skip = x1 - x0
  let x = x0 + ((<usize>segment) << 14)
  let s0 = i64x2.splat(0)
  let s1 = i64x2.splat(0)
  let u0 = i64x2.splat(0)
  let u1 = i64x2.splat(0)
  const end = w + <usize>columns
  while (w < end) {
    const m8 = v128.load(m)
    const o8 = v128.load(o)
    let correction = v128.load(c0)
    let t0 = i32x4.dot_i16x8_s(m8, correction)
    let y0 = i32x4.dot_i16x8_s(o8, correction)
    correction = v128.load(c0 + skip)
    let t1 = i32x4.dot_i16x8_s(m8, correction)
    let y1 = i32x4.dot_i16x8_s(o8, correction)
    const stop = min(w + 256, end)
    while (w < stop) {
      const mm = v128.load16_splat(m)
      const oo = v128.load16_splat(o)
      for (let half = 0; half < 2; half++) {
        const p = v128.load(w)
        const q = v128.load(v)
        let a = v128.load(x)
        let g = v128.load(x, 16)
        t0 = i32x4.add(t0, i32x4.dot_i16x8_s(i16x8.relaxed_dot_i8x16_i7x16_s(v128.xor(p, g), a), mm))
        y0 = i32x4.add(y0, i32x4.dot_i16x8_s(i16x8.relaxed_dot_i8x16_i7x16_s(v128.xor(q, g), a), oo))
        a = v128.load(x + skip)
        g = v128.load(x + skip, 16)
        t1 = i32x4.add(t1, i32x4.dot_i16x8_s(i16x8.relaxed_dot_i8x16_i7x16_s(v128.xor(p, g), a), mm))
        y1 = i32x4.add(y1, i32x4.dot_i16x8_s(i16x8.relaxed_dot_i8x16_i7x16_s(v128.xor(q, g), a), oo))
        w += 16
        v += 16
        x += 32
      }
      m += 2
      o += 2
    }
    let d = v128.load32_splat(d0)
    s0 = i64x2.add(s0, i64x2.add(i64x2.extmul_low_i32x4_s(t0, d), i64x2.extmul_high_i32x4_s(t0, d)))
    u0 = i64x2.add(u0, i64x2.add(i64x2.extmul_low_i32x4_s(y0, d), i64x2.extmul_high_i32x4_s(y0, d)))
    d = v128.load32_splat(d0 + skip)
    s1 = i64x2.add(s1, i64x2.add(i64x2.extmul_low_i32x4_s(t1, d), i64x2.extmul_high_i32x4_s(t1, d)))
    u1 = i64x2.add(u1, i64x2.add(i64x2.extmul_low_i32x4_s(y1, d), i64x2.extmul_high_i32x4_s(y1, d)))
    c0 += 16
    d0 += 4
  }
  store<i64>(S, i64x2.extract_lane(s0, 0) + i64x2.extract_lane(s0, 1))
  store<i64>(S, i64x2.extract_lane(s1, 0) + i64x2.extract_lane(s1, 1), 8)
  S += skipRow
  store<i64>(S, i64x2.extract_lane(u0, 0) + i64x2.extract_lane(u0, 1))
  store<i64>(S, i64x2.extract_lane(u1, 0) + i64x2.extract_lane(u1, 1), 8)
}

/** The four vectors' running sums stay in memory: the registers are all taken. */
function pair4(
  w: usize,
  v: usize,
  m: usize,
  o: usize,
  columns: i32,
  segment: i32,
  n: i32,
  x0: usize,
  x1: usize,
  x2: usize,
  x3: usize,
  S: usize,
  skipRow: usize,
): void {
  const toCorrections = <usize>correctionsAt(n)
  const toScales = <usize>scalesAt(n)
  const end = w + <usize>columns
  const R = S + skipRow
  v128.store(S, i64x2.splat(0))
  v128.store(S, i64x2.splat(0), 16)
  v128.store(R, i64x2.splat(0))
  v128.store(R, i64x2.splat(0), 16)
  let k: usize = (<usize>segment) << 5
  while (w < end) {
    const block = k << 4
    const m8 = v128.load(m)
    const o8 = v128.load(o)
    let c = v128.load(x0 + toCorrections + block)
    let t0 = i32x4.dot_i16x8_s(m8, c)
    let y0 = i32x4.dot_i16x8_s(o8, c)
    c = v128.load(x1 + toCorrections + block)
    let t1 = i32x4.dot_i16x8_s(m8, c)
    let y1 = i32x4.dot_i16x8_s(o8, c)
    c = v128.load(x2 + toCorrections + block)
    let t2 = i32x4.dot_i16x8_s(m8, c)
    let y2 = i32x4.dot_i16x8_s(o8, c)
    c = v128.load(x3 + toCorrections + block)
    let t3 = i32x4.dot_i16x8_s(m8, c)
    let y3 = i32x4.dot_i16x8_s(o8, c)
    let p0 = x0 + (k << 9)
    let p1 = x1 + (k << 9)
    let p2 = x2 + (k << 9)
    let p3 = x3 + (k << 9)
    const stop = min(w + 256, end)
    while (w < stop) {
      const mm = v128.load16_splat(m)
      const oo = v128.load16_splat(o)
      for (let half = 0; half < 2; half++) {
        const p = v128.load(w)
        const q = v128.load(v)
        let a = v128.load(p0)
        let g = v128.load(p0, 16)
        t0 = i32x4.add(t0, i32x4.dot_i16x8_s(i16x8.relaxed_dot_i8x16_i7x16_s(v128.xor(p, g), a), mm))
        y0 = i32x4.add(y0, i32x4.dot_i16x8_s(i16x8.relaxed_dot_i8x16_i7x16_s(v128.xor(q, g), a), oo))
        a = v128.load(p1)
        g = v128.load(p1, 16)
        t1 = i32x4.add(t1, i32x4.dot_i16x8_s(i16x8.relaxed_dot_i8x16_i7x16_s(v128.xor(p, g), a), mm))
        y1 = i32x4.add(y1, i32x4.dot_i16x8_s(i16x8.relaxed_dot_i8x16_i7x16_s(v128.xor(q, g), a), oo))
        a = v128.load(p2)
        g = v128.load(p2, 16)
        t2 = i32x4.add(t2, i32x4.dot_i16x8_s(i16x8.relaxed_dot_i8x16_i7x16_s(v128.xor(p, g), a), mm))
        y2 = i32x4.add(y2, i32x4.dot_i16x8_s(i16x8.relaxed_dot_i8x16_i7x16_s(v128.xor(q, g), a), oo))
        a = v128.load(p3)
        g = v128.load(p3, 16)
        t3 = i32x4.add(t3, i32x4.dot_i16x8_s(i16x8.relaxed_dot_i8x16_i7x16_s(v128.xor(p, g), a), mm))
        y3 = i32x4.add(y3, i32x4.dot_i16x8_s(i16x8.relaxed_dot_i8x16_i7x16_s(v128.xor(q, g), a), oo))
        w += 16
        v += 16
        p0 += 32
        p1 += 32
        p2 += 32
        p3 += 32
      }
      m += 2
      o += 2
    }
    const scale = toScales + (k << 2)
    let d = v128.load32_splat(x0 + scale)
    addSum(S, t0, d)
    if (skipRow !== 0) addSum(R, y0, d)
    d = v128.load32_splat(x1 + scale)
    addSum(S + 8, t1, d)
    if (skipRow !== 0) addSum(R + 8, y1, d)
    d = v128.load32_splat(x2 + scale)
    addSum(S + 16, t2, d)
    if (skipRow !== 0) addSum(R + 16, y2, d)
    d = v128.load32_splat(x3 + scale)
    addSum(S + 24, t3, d)
    if (skipRow !== 0) addSum(R + 24, y3, d)
    k++
  }
}

function addSum(at: usize, lanes: v128, d: v128): void {
  const s = i64x2.add(i64x2.extmul_low_i32x4_s(lanes, d), i64x2.extmul_high_i32x4_s(lanes, d))
  store<i64>(at, load<i64>(at) + i64x2.extract_lane(s, 0) + i64x2.extract_lane(s, 1))
}
