// biome-ignore-all lint/correctness/useImportExtensions: the AssemblyScript compiler appends the extension.
import { correctionsAt, planeBytes, scalesAt } from './a8'
import { rs, SAT } from './scalar'
import { blockBytes, ROWS, SEGMENT, shiftsAt, weightsAt } from './tensor'

// relaxed_dot_i8x16_i7x16_s is exact here on every machine: its second operand is a magnitude ≤ 127 and a pair of products
// is at most 2 · 127 · 128 < 2^15. A negative activation is applied as w XOR 255 = −w − 1; the corrections add the ones back.

/**
 * Blocks of rows `from` to `to`: y = sat(S·2^−shift + bias) for `vectors` A8 vectors (each of `planes` planes, `stride` bytes
 * apart), stored as i32 at out + vector·outStride + row·4, or added there with saturation. `scratch` holds
 * 64 · vectors · (planes + 1) + 16 bytes.
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
  const segments = (columns + SEGMENT - 1) / SEGMENT
  const bytes = blockBytes(columns)
  const plane = planeBytes(n)
  const lanes = vectors * planes
  const totals = scratch + ((<usize>lanes) << 6)
  const fence = totals + ((<usize>vectors) << 6)
  for (let block = from; block < to; block++) {
    const multipliers = tensor + <usize>block * <usize>bytes
    const weights = multipliers + <usize>weightsAt(columns)
    for (let s = 0; s < segments; s++) {
      const k0 = s * SEGMENT
      const k1 = min(columns, k0 + SEGMENT)
      let lane = 0
      for (; lane + 3 < lanes; lane += 4) {
        const x0 = vectorAt(a8, stride, plane, planes, lane)
        const x1 = vectorAt(a8, stride, plane, planes, lane + 1)
        const x2 = vectorAt(a8, stride, plane, planes, lane + 2)
        const x3 = vectorAt(a8, stride, plane, planes, lane + 3)
        const S = scratch + ((<usize>lane) << 6)
        begin(multipliers, k0, k1, n, x0, S)
        begin(multipliers, k0, k1, n, x1, S + 64)
        begin(multipliers, k0, k1, n, x2, S + 128)
        begin(multipliers, k0, k1, n, x3, S + 192)
        for (let r: usize = 0; r < <usize>ROWS; r += 2) {
          fourVectors(weights + (r << 5), multipliers + (r << 1), k0, k1, n, x0, x1, x2, x3, S + (r << 3))
        }
      }
      // Two lanes take turns at every 256 columns: the second finds the weights in the cache and the stream of weights does not pause.
      for (; lane + 1 < lanes; lane += 2) {
        const x0 = vectorAt(a8, stride, plane, planes, lane)
        const x1 = vectorAt(a8, stride, plane, planes, lane + 1)
        const S = scratch + ((<usize>lane) << 6)
        begin(multipliers, k0, k1, n, x0, S)
        begin(multipliers, k0, k1, n, x1, S + 64)
        for (let k = k0; k < k1; k += 256) {
          const end = min(k + 256, k1)
          oneVector(weights, multipliers, k, end, n, x0, S, fence)
          oneVector(weights, multipliers, k, end, n, x1, S + 64, fence)
        }
      }
      if (lane < lanes) {
        const x = vectorAt(a8, stride, plane, planes, lane)
        const S = scratch + ((<usize>lane) << 6)
        begin(multipliers, k0, k1, n, x, S)
        oneVector(weights, multipliers, k0, k1, n, x, S, fence)
      }
      for (let v = 0; v < vectors; v++) {
        finish(
          scratch + ((<usize>(v * planes)) << 6),
          planes,
          multipliers + <usize>shiftsAt(columns),
          min(ROWS, rows - block * ROWS),
          totals + ((<usize>v) << 6),
          s,
          s + 1 === segments,
          out + <usize>(v * outStride) + ((<usize>(block * ROWS)) << 2),
          add,
        )
      }
    }
  }
}

function vectorAt(a8: usize, stride: i32, plane: i32, planes: i32, lane: i32): usize {
  return planes === 2 ? a8 + <usize>((lane >> 1) * stride + (lane & 1) * plane) : a8 + <usize>(lane * stride)
}

/** Turns a vector's sums of eight rows (i64 at S, the second plane's 64 bytes behind) into outputs. */
function finish(
  S: usize,
  planes: i32,
  shifts: usize,
  rows: i32,
  totals: usize,
  segment: i32,
  last: bool,
  y: usize,
  add: bool,
): void {
  for (let r: usize = 0; r < <usize>rows; r++) {
    let sum = load<i64>(S + (r << 3))
    if (planes === 2) sum += load<i64>(S + (r << 3), 64)
    let part = rs(sum, <i32>load<u8>(shifts + r))
    if (segment === 0) part += <i64>load<i32>(shifts + 8 + (r << 2))
    part = min<i64>(max<i64>(part, -SAT), SAT)
    if (segment > 0) part += load<i64>(totals + (r << 3))
    if (!last) {
      store<i64>(totals + (r << 3), part)
      continue
    }
    part = min<i64>(max<i64>(part, -SAT), SAT)
    const at = y + (r << 2)
    if (add) part = min<i64>(max<i64>(part + <i64>load<i32>(at), -SAT), SAT)
    store<i32>(at, <i32>part)
  }
}

/**
 * S (8 × i64) += the sums of eight rows over columns k0 to k1 of one vector. The stores to `fence` (16 bytes) keep V8 from loading all
 * rows first, for which it has too few registers.
 */
function oneVector(
  weights: usize,
  multipliers: usize,
  k0: i32,
  k1: i32,
  n: i32,
  x: usize,
  S: usize,
  fence: usize,
): void {
  let w = weights + ((<usize>k0) << 3)
  let m = multipliers + (<usize>k0 >> 1)
  let scale = x + <usize>scalesAt(n) + (<usize>k0 >> 6)
  x += (<usize>k0) << 1
  const end = x + ((<usize>(k1 - k0)) << 1)
  while (x < end) {
    const stop = min(x + 512, end)
    const d = v128.load32_splat(scale)
    let t0 = i32x4.splat(0)
    let t1 = i32x4.splat(0)
    let t2 = i32x4.splat(0)
    let t3 = i32x4.splat(0)
    let t4 = i32x4.splat(0)
    let t5 = i32x4.splat(0)
    let t6 = i32x4.splat(0)
    let t7 = i32x4.splat(0)
    while (x < stop) {
      const a = v128.load(x)
      const g = v128.load(x, 16)
      const b = v128.load(x, 32)
      const h = v128.load(x, 48)
      let mm = v128.load16_splat(m)
      t0 = i32x4.add(t0, i32x4.dot_i16x8_s(i16x8.relaxed_dot_i8x16_i7x16_s(v128.xor(v128.load(w), g), a), mm))
      t0 = i32x4.add(
        t0,
        i32x4.dot_i16x8_s(i16x8.relaxed_dot_i8x16_i7x16_s(v128.xor(v128.load(w, 16), h), b), mm),
      )
      v128.store(fence, t0)
      mm = v128.load16_splat(m, 2)
      t1 = i32x4.add(
        t1,
        i32x4.dot_i16x8_s(i16x8.relaxed_dot_i8x16_i7x16_s(v128.xor(v128.load(w, 32), g), a), mm),
      )
      t1 = i32x4.add(
        t1,
        i32x4.dot_i16x8_s(i16x8.relaxed_dot_i8x16_i7x16_s(v128.xor(v128.load(w, 48), h), b), mm),
      )
      v128.store(fence, t1)
      mm = v128.load16_splat(m, 4)
      t2 = i32x4.add(
        t2,
        i32x4.dot_i16x8_s(i16x8.relaxed_dot_i8x16_i7x16_s(v128.xor(v128.load(w, 64), g), a), mm),
      )
      t2 = i32x4.add(
        t2,
        i32x4.dot_i16x8_s(i16x8.relaxed_dot_i8x16_i7x16_s(v128.xor(v128.load(w, 80), h), b), mm),
      )
      v128.store(fence, t2)
      mm = v128.load16_splat(m, 6)
      t3 = i32x4.add(
        t3,
        i32x4.dot_i16x8_s(i16x8.relaxed_dot_i8x16_i7x16_s(v128.xor(v128.load(w, 96), g), a), mm),
      )
      t3 = i32x4.add(
        t3,
        i32x4.dot_i16x8_s(i16x8.relaxed_dot_i8x16_i7x16_s(v128.xor(v128.load(w, 112), h), b), mm),
      )
      v128.store(fence, t3)
      mm = v128.load16_splat(m, 8)
      t4 = i32x4.add(
        t4,
        i32x4.dot_i16x8_s(i16x8.relaxed_dot_i8x16_i7x16_s(v128.xor(v128.load(w, 128), g), a), mm),
      )
      t4 = i32x4.add(
        t4,
        i32x4.dot_i16x8_s(i16x8.relaxed_dot_i8x16_i7x16_s(v128.xor(v128.load(w, 144), h), b), mm),
      )
      v128.store(fence, t4)
      mm = v128.load16_splat(m, 10)
      t5 = i32x4.add(
        t5,
        i32x4.dot_i16x8_s(i16x8.relaxed_dot_i8x16_i7x16_s(v128.xor(v128.load(w, 160), g), a), mm),
      )
      t5 = i32x4.add(
        t5,
        i32x4.dot_i16x8_s(i16x8.relaxed_dot_i8x16_i7x16_s(v128.xor(v128.load(w, 176), h), b), mm),
      )
      v128.store(fence, t5)
      mm = v128.load16_splat(m, 12)
      t6 = i32x4.add(
        t6,
        i32x4.dot_i16x8_s(i16x8.relaxed_dot_i8x16_i7x16_s(v128.xor(v128.load(w, 192), g), a), mm),
      )
      t6 = i32x4.add(
        t6,
        i32x4.dot_i16x8_s(i16x8.relaxed_dot_i8x16_i7x16_s(v128.xor(v128.load(w, 208), h), b), mm),
      )
      v128.store(fence, t6)
      mm = v128.load16_splat(m, 14)
      t7 = i32x4.add(
        t7,
        i32x4.dot_i16x8_s(i16x8.relaxed_dot_i8x16_i7x16_s(v128.xor(v128.load(w, 224), g), a), mm),
      )
      t7 = i32x4.add(
        t7,
        i32x4.dot_i16x8_s(i16x8.relaxed_dot_i8x16_i7x16_s(v128.xor(v128.load(w, 240), h), b), mm),
      )
      v128.store(fence, t7)
      w += 256
      m += 16
      x += 64
    }
    addPair(S, t0, t1, d)
    addPair(S + 16, t2, t3, d)
    addPair(S + 32, t4, t5, d)
    addPair(S + 48, t6, t7, d)
    scale += 4
  }
}

/** The same for two rows and four vectors, whose sums lie 64 bytes apart. */
function fourVectors(
  weights: usize,
  multipliers: usize,
  k0: i32,
  k1: i32,
  n: i32,
  x0: usize,
  x1: usize,
  x2: usize,
  x3: usize,
  S: usize,
): void {
  const toScales = <usize>scalesAt(n)
  let w = weights + ((<usize>k0) << 3)
  let m = multipliers + (<usize>k0 >> 1)
  let k: usize = (<usize>k0) << 1
  const end = (<usize>k1) << 1
  while (k < end) {
    let p0 = x0 + k
    let p1 = x1 + k
    let p2 = x2 + k
    let p3 = x3 + k
    let t0 = i32x4.splat(0)
    let u0 = i32x4.splat(0)
    let t1 = i32x4.splat(0)
    let u1 = i32x4.splat(0)
    let t2 = i32x4.splat(0)
    let u2 = i32x4.splat(0)
    let t3 = i32x4.splat(0)
    let u3 = i32x4.splat(0)
    const stop = x0 + min(k + 512, end)
    while (p0 < stop) {
      const mm = v128.load16_splat(m)
      const oo = v128.load16_splat(m, 2)
      for (let half: usize = 0; half < 32; half += 16) {
        const p = v128.load(w + half)
        const q = v128.load(w + half, 32)
        let a = v128.load(p0)
        let g = v128.load(p0, 16)
        t0 = i32x4.add(t0, i32x4.dot_i16x8_s(i16x8.relaxed_dot_i8x16_i7x16_s(v128.xor(p, g), a), mm))
        u0 = i32x4.add(u0, i32x4.dot_i16x8_s(i16x8.relaxed_dot_i8x16_i7x16_s(v128.xor(q, g), a), oo))
        a = v128.load(p1)
        g = v128.load(p1, 16)
        t1 = i32x4.add(t1, i32x4.dot_i16x8_s(i16x8.relaxed_dot_i8x16_i7x16_s(v128.xor(p, g), a), mm))
        u1 = i32x4.add(u1, i32x4.dot_i16x8_s(i16x8.relaxed_dot_i8x16_i7x16_s(v128.xor(q, g), a), oo))
        a = v128.load(p2)
        g = v128.load(p2, 16)
        t2 = i32x4.add(t2, i32x4.dot_i16x8_s(i16x8.relaxed_dot_i8x16_i7x16_s(v128.xor(p, g), a), mm))
        u2 = i32x4.add(u2, i32x4.dot_i16x8_s(i16x8.relaxed_dot_i8x16_i7x16_s(v128.xor(q, g), a), oo))
        a = v128.load(p3)
        g = v128.load(p3, 16)
        t3 = i32x4.add(t3, i32x4.dot_i16x8_s(i16x8.relaxed_dot_i8x16_i7x16_s(v128.xor(p, g), a), mm))
        u3 = i32x4.add(u3, i32x4.dot_i16x8_s(i16x8.relaxed_dot_i8x16_i7x16_s(v128.xor(q, g), a), oo))
        p0 += 32
        p1 += 32
        p2 += 32
        p3 += 32
      }
      w += 256
      m += 16
    }
    const scale = toScales + (k >> 7)
    addPair(S, t0, u0, v128.load32_splat(x0 + scale))
    addPair(S + 64, t1, u1, v128.load32_splat(x1 + scale))
    addPair(S + 128, t2, u2, v128.load32_splat(x2 + scale))
    addPair(S + 192, t3, u3, v128.load32_splat(x3 + scale))
    k += 512
  }
}

/** Adds the lanes of two rows, times d, to their sums. */
function addPair(S: usize, a: v128, b: v128, d: v128): void {
  const u = i64x2.add(i64x2.extmul_low_i32x4_s(a, d), i64x2.extmul_high_i32x4_s(a, d))
  const v = i64x2.add(i64x2.extmul_low_i32x4_s(b, d), i64x2.extmul_high_i32x4_s(b, d))
  const sums = i64x2.add(i64x2.shuffle(u, v, 0, 2), i64x2.shuffle(u, v, 1, 3))
  v128.store(S, i64x2.add(v128.load(S), sums))
}

/** Begins the sums of eight rows with what the negative activations of a vector leave out. */
function begin(multipliers: usize, k0: i32, k1: i32, n: i32, x: usize, S: usize): void {
  let m = multipliers + (<usize>k0 >> 1)
  let c = x + <usize>correctionsAt(n) + (<usize>k0 >> 4)
  let scale = x + <usize>scalesAt(n) + (<usize>k0 >> 6)
  let s0 = i64x2.splat(0)
  let s1 = i64x2.splat(0)
  let s2 = i64x2.splat(0)
  let s3 = i64x2.splat(0)
  for (let k = k0; k < k1; k += 256) {
    let t = i32x4.splat(0)
    let u = i32x4.splat(0)
    // Corrections of groups that a short last block lacks are zero.
    for (let g: usize = 0; g < 4; g++) {
      const a = v128.load(m)
      const b = v128.load(m, 16)
      const pair = v128.load32_splat(c)
      t = i32x4.add(t, i32x4.dot_i16x8_s(i16x8.shuffle(a, b, 0, 8, 1, 9, 2, 10, 3, 11), pair))
      u = i32x4.add(u, i32x4.dot_i16x8_s(i16x8.shuffle(a, b, 4, 12, 5, 13, 6, 14, 7, 15), pair))
      m += 32
      c += 4
    }
    const d = v128.load32_splat(scale)
    s0 = i64x2.add(s0, i64x2.extmul_low_i32x4_s(t, d))
    s1 = i64x2.add(s1, i64x2.extmul_high_i32x4_s(t, d))
    s2 = i64x2.add(s2, i64x2.extmul_low_i32x4_s(u, d))
    s3 = i64x2.add(s3, i64x2.extmul_high_i32x4_s(u, d))
    scale += 4
  }
  v128.store(S, s0)
  v128.store(S, s1, 16)
  v128.store(S, s2, 32)
  v128.store(S, s3, 48)
}
