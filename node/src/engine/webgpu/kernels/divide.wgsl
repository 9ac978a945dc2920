/// v / d rounded to nearest, halves away from zero.
fn divide_round(v: i32, d: u32) -> i32 {
  let q = i32((2u * u32(abs(v)) + d) / (2u * d));
  return select(q, -q, v < 0);
}

/// floor(a * 2^22 / s), a < s / 2 + 1 and s < 2^31.
fn divide(a: u32, s: u32) -> u32 {
  var rest = a;
  var q = 0u;
  for (var i = 0; i < 22; i++) {
    rest = rest << 1u;
    q = q << 1u;
    if (rest >= s) {
      rest -= s;
      q |= 1u;
    }
  }
  return q;
}
