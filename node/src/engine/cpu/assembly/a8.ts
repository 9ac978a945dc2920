// A vector for the linear kernel. Per 16 values: 16 magnitudes (u8), 16 sign masks (0 or 255). Then per block of 256
// a correction (8 × i16, one a group of 32), then per block its scale (u32). With two planes the second follows.

/** Bytes of one plane of `n` values. */
export function planeBytes(n: i32): i32 {
  const blocks = (n + 255) >> 8
  return ((((n + 31) & ~31) << 1) + blocks * 20 + 15) & ~15
}

/** Bytes from a plane's beginning to its corrections. */
export function correctionsAt(n: i32): i32 {
  return ((n + 31) & ~31) << 1
}

/** Bytes from a plane's beginning to its scales. */
export function scalesAt(n: i32): i32 {
  return correctionsAt(n) + (((n + 255) >> 8) << 4)
}

/** Quantises blocks `from` to `to` of n values v (i32). Values after the n-th are read and must exist; they count as 0. */
export function quantise(v: usize, n: i32, planes: i32, out: usize, from: i32, to: i32): void {
  for (let b = from; b < to; b++) {
    const at = v + ((<usize>b) << 10)
    const count = min(256, n - (b << 8))
    const padded = (count + 31) & ~31
    for (let i = count; i < padded; i++) store<i32>(at + ((<usize>i) << 2), 0)
    let most = i32x4.splat(0)
    for (let i: usize = 0; i < (<usize>padded) << 2; i += 16)
      most = i32x4.max_u(most, i32x4.abs(v128.load(at + i)))
    const M = max(
      max(i32x4.extract_lane(most, 0), i32x4.extract_lane(most, 1)),
      max(i32x4.extract_lane(most, 2), i32x4.extract_lane(most, 3)),
    )
    const d = max(1, (M + 126) / 127)
    quantiseBlock(at, padded, d, out, n, b)
    if (planes === 2) {
      const dd = i32x4.splat(d)
      const body = out + ((<usize>b) << 9)
      for (let i: usize = 0; i < <usize>padded; i += 4) {
        const q = body + ((i >> 4) << 5) + (i & 15)
        const sign = i32x4.extend_low_i16x8_s(i16x8.extend_low_i8x16_s(v128.load32_zero(q, 16)))
        const magnitude = i32x4.extend_low_i16x8_u(i16x8.extend_low_i8x16_u(v128.load32_zero(q)))
        const value = i32x4.sub(v128.xor(magnitude, sign), sign)
        const w = at + (i << 2)
        v128.store(w, i32x4.sub(v128.load(w), i32x4.mul(value, dd)))
      }
      quantiseBlock(at, padded, max(1, (d + 253) / 254), out + <usize>planeBytes(n), n, b)
    }
  }
}

/** Writes one block's magnitudes, signs, correction and scale. */
function quantiseBlock(v: usize, padded: i32, d: i32, out: usize, n: i32, b: i32): void {
  // (2|v| + d) div 2d as floor((2|v| + d + 1/2) · (1/2d)): the half keeps the product clear of every integer.
  const inverse = f64x2.splat(1.0 / <f64>(2 * d))
  const rounding = f64x2.splat(<f64>d + 0.5)
  let body = out + ((<usize>b) << 9)
  const corrections = out + <usize>correctionsAt(n) + ((<usize>b) << 4)
  v128.store(corrections, i32x4.splat(0))
  for (let i = 0; i < padded; i += 32) {
    let negative = i16x8.splat(0)
    for (let half = 0; half < 2; half++) {
      const a = v128.load(v)
      const c = v128.load(v, 16)
      const e = v128.load(v, 32)
      const f = v128.load(v, 48)
      const low = i16x8.narrow_i32x4_s(
        quotient(i32x4.abs(a), inverse, rounding),
        quotient(i32x4.abs(c), inverse, rounding),
      )
      const high = i16x8.narrow_i32x4_s(
        quotient(i32x4.abs(e), inverse, rounding),
        quotient(i32x4.abs(f), inverse, rounding),
      )
      const magnitude = i8x16.narrow_i16x8_s(low, high)
      const sign = i8x16.narrow_i16x8_s(
        i16x8.narrow_i32x4_s(i32x4.shr_s(a, 31), i32x4.shr_s(c, 31)),
        i16x8.narrow_i32x4_s(i32x4.shr_s(e, 31), i32x4.shr_s(f, 31)),
      )
      v128.store(body, magnitude)
      v128.store(body, sign, 16)
      negative = i16x8.add(negative, i16x8.extadd_pairwise_i8x16_u(v128.and(magnitude, sign)))
      v += 64
      body += 32
    }
    const pairs = i32x4.extadd_pairwise_i16x8_u(negative)
    const sum =
      i32x4.extract_lane(pairs, 0) +
      i32x4.extract_lane(pairs, 1) +
      i32x4.extract_lane(pairs, 2) +
      i32x4.extract_lane(pairs, 3)
    store<i16>(corrections + ((<usize>(i >> 5)) << 1), <i16>sum)
  }
  store<u32>(out + <usize>scalesAt(n) + ((<usize>b) << 2), d)
}

function quotient(magnitude: v128, inverse: v128, rounding: v128): v128 {
  const low = f64x2.convert_low_i32x4_u(magnitude)
  const high = f64x2.convert_low_i32x4_u(i64x2.shuffle(magnitude, magnitude, 1, 0))
  const a = i32x4.trunc_sat_f64x2_u_zero(f64x2.mul(f64x2.add(f64x2.add(low, low), rounding), inverse))
  const b = i32x4.trunc_sat_f64x2_u_zero(f64x2.mul(f64x2.add(f64x2.add(high, high), rounding), inverse))
  return i64x2.shuffle(a, b, 0, 2)
}
