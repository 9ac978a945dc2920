/// (Y, h) with 1/sqrt(v) near Y * 2^-30 * 2^-h.
fn rsqrt(v: Wide) -> vec2u {
  let b = bit_length64(v);
  let e = b + (b & 1u);
  var n: u32;
  if (e >= 32u) {
    n = shift_right(v, e - 32u).x;
  } else {
    n = v.x << ((32u - e) & 31u);
  }
  var y = 2362232012u - mul_uu(n, 1288490189u).y;
  for (var i = 0; i < 4; i++) {
    let t = shift_right(mul_uu(y, y), 31u).x;
    y = shift_right(mul_uu(y, 1610612736u - mul_uu(n, t).y), 30u).x;
  }
  return vec2u(y, e / 2u);
}
