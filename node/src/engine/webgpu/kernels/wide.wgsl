// Signed 64-bit integers as (low word, high word), and the rounding of SPEC.md section 1.
alias Wide = vec2u;

const SAT = 0x3fffffff;

fn sat(v: i32) -> i32 {
  return clamp(v, -SAT, SAT);
}

fn widen(v: i32) -> Wide {
  return vec2u(bitcast<u32>(v), bitcast<u32>(v >> 31u));
}

fn add(a: Wide, b: Wide) -> Wide {
  let low = a.x + b.x;
  return vec2u(low, a.y + b.y + select(0u, 1u, low < a.x));
}

fn negate(a: Wide) -> Wide {
  return add(~a, vec2u(1u, 0u));
}

fn subtract(a: Wide, b: Wide) -> Wide {
  return vec2u(a.x - b.x, a.y - b.y - select(0u, 1u, a.x < b.x));
}

fn mul_uu(a: u32, b: u32) -> Wide {
  let al = a & 0xffffu;
  let ah = a >> 16u;
  let bl = b & 0xffffu;
  let bh = b >> 16u;
  let low = al * bl;
  let cross = ah * bl + (low >> 16u);
  let middle = al * bh + (cross & 0xffffu);
  return vec2u((middle << 16u) | (low & 0xffffu), ah * bh + (cross >> 16u) + (middle >> 16u));
}

fn mul_iu(a: i32, b: u32) -> Wide {
  let r = mul_uu(bitcast<u32>(a), b);
  return vec2u(r.x, r.y - select(0u, b, a < 0));
}

fn mul_ii(a: i32, b: i32) -> Wide {
  let r = mul_iu(a, bitcast<u32>(b));
  return vec2u(r.x, r.y - select(0u, bitcast<u32>(a), b < 0));
}

/// Floor of v / 2^s, 0 <= s <= 63.
fn shift_right(v: Wide, s: u32) -> Wide {
  let high = bitcast<i32>(v.y);
  if (s >= 32u) {
    return vec2u(bitcast<u32>(high >> (s - 32u)), bitcast<u32>(high >> 31u));
  }
  if (s == 0u) {
    return v;
  }
  return vec2u((v.x >> s) | (v.y << (32u - s)), bitcast<u32>(high >> s));
}

/// v * 2^s, 0 <= s <= 31.
fn shift_left(v: Wide, s: u32) -> Wide {
  if (s == 0u) {
    return v;
  }
  return vec2u(v.x << s, (v.y << s) | (v.x >> (32u - s)));
}

/// rs(v, s), 0 <= s <= 62.
fn round_shift(v: Wide, s: u32) -> Wide {
  if (s == 0u) {
    return v;
  }
  let n = s - 1u;
  let half = select(vec2u(0u, 1u << (n & 31u)), vec2u(1u << (n & 31u), 0u), n < 32u);
  return shift_right(add(v, half), s);
}

/// rs(v, s) in 32 bits, |v| <= 2^30 and 0 <= s <= 30.
fn round_shift32(v: i32, s: u32) -> i32 {
  if (s == 0u) {
    return v;
  }
  return (v + (1i << (s - 1u))) >> s;
}

fn saturate64(v: Wide) -> i32 {
  let low = bitcast<i32>(v.x);
  let high = bitcast<i32>(v.y);
  if ((low >> 31u) != high) {
    return select(SAT, -SAT, high < 0);
  }
  return sat(low);
}

/// mulrs(a, b, s)
fn mul_round(a: i32, b: i32, s: u32) -> i32 {
  return saturate64(round_shift(mul_ii(a, b), s));
}

fn bit_length(v: u32) -> u32 {
  return 32u - countLeadingZeros(v);
}

fn bit_length64(v: Wide) -> u32 {
  return select(32u + bit_length(v.y), bit_length(v.x), v.y == 0u);
}
