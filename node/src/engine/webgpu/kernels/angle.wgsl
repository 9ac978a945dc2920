/// sin in Q30 of u / 2^21 turns, 0 <= u < 2^21.
fn sine(u: u32) -> i32 {
  let quadrant = u >> 19u;
  var w = u & 0x7ffffu;
  if ((quadrant & 1u) == 1u) {
    w = 0x80000u - w;
  }
  let i = SIN_TABLE + (w >> 9u);
  let low = tables[i];
  let s = i32(low + (((tables[i + 1u] - low) * (w & 511u) + 256u) >> 9u));
  return select(s, -s, quadrant >= 2u);
}

fn cosine(u: u32) -> i32 {
  return sine((u + 0x80000u) & 0x1fffffu);
}

/// Phase of position t for a frequency in 2^-44 turns a position, in 2^-21 turns.
fn phase(t: u32, frequency: vec2u) -> u32 {
  let product = mul_uu(t, frequency.x);
  let turns = vec2u(product.x, (product.y + t * frequency.y) & 0xfffu);
  return shift_right(add(turns, vec2u(1u << 22u, 0u)), 23u).x & 0x1fffffu;
}
