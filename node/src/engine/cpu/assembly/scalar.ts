/** Saturation bound of every stored i32. */
export const SAT: i64 = (1 << 30) - 1

// Tables lie at fixed addresses, written by the host before the first call.
const EXP2: usize = 1024
const SIN: usize = 2064
const SIGMOID: usize = 6176
const LOG2: usize = 10288
/** First free byte behind the tables. */
export const TABLES_END: usize = 11328

export function tableAddress(index: i32): usize {
  if (index === 0) return EXP2
  if (index === 1) return SIN
  return index === 2 ? SIGMOID : LOG2
}

/** v / 2^s rounded half up, 0 ≤ s ≤ 62. */
export function rs(v: i64, s: i32): i64 {
  return (v + (((<i64>1) << s) >> 1)) >> s
}

export function sat(v: i64): i32 {
  return <i32>min<i64>(max<i64>(v, -SAT), SAT)
}

export function mulrs(a: i64, b: i64, s: i32): i32 {
  return sat(rs(a * b, s))
}

export function bitlen(v: u32): i32 {
  return 32 - clz<u32>(v)
}

/** 2^(−d) in Q30 for d ≥ 0 in Q16. */
export function exp2n(d: u32): u32 {
  const n = d >> 16
  if (n > 30) return 0
  const at = EXP2 + (((d >> 8) & 255) << 2)
  const high = load<u32>(at)
  return (high - (((high - load<u32>(at, 4)) * (d & 255) + 128) >> 8)) >> n
}

/** Sigmoid in Q30 of g in Q`gate`. */
export function sigmoid(g: i32, gate: i32): u32 {
  const a = <u32>rs(abs<i64>(g), gate - 15)
  let s: u32 = 1 << 30
  if (a < 1 << 19) {
    const at = SIGMOID + ((a >> 9) << 2)
    const low = load<u32>(at)
    s = low + (((load<u32>(at, 4) - low) * (a & 511) + 256) >> 9)
  }
  return g >= 0 ? s : (1 << 30) - s
}

/** Sine in Q30 of a turn of 2^21. */
export function sine(u: u32): i32 {
  const k = u >> 19
  let w = u & 0x7ffff
  if (k & 1) w = 0x80000 - w
  const at = SIN + ((w >> 9) << 2)
  const low = load<u32>(at)
  const s = low + (((load<u32>(at, 4) - low) * (w & 511) + 256) >> 9)
  return k < 2 ? <i32>s : -(<i32>s)
}

export function cosine(u: u32): i32 {
  return sine((u + 0x80000) & 0x1fffff)
}

/** 1/√V ≈ Y·2^−30·2^−h for 1 ≤ V < 2^50: Y in the low 32 bits, h above. */
export function rsqrt(V: u64): u64 {
  const b = 64 - <i32>clz<u64>(V)
  const e = b + (b & 1)
  const v = e <= 32 ? V << (32 - e) : V >> (e - 32)
  let y: u64 = 2362232012 - ((v * 1288490189) >> 32)
  for (let i = 0; i < 4; i++) {
    const t = (y * y) >> 31
    y = (y * (1610612736 - ((v * t) >> 32))) >> 30
  }
  return y | ((<u64>(e >> 1)) << 32)
}

/** log2 n in Q24 for 1 ≤ n < 2^32. */
export function log2q(n: u32): u32 {
  const b = 31 - clz<u32>(n)
  const m = (n << (31 - b)) & 0x7fffffff
  const at = LOG2 + ((m >> 23) << 2)
  const low = load<u32>(at)
  return (b << 24) + low + (((load<u32>(at, 4) - low) * ((m >> 8) & 32767) + 16384) >> 15)
}
