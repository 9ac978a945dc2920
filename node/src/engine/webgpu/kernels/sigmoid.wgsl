/// 1 / (1 + e^-g) in Q30, g in Q`gate`.
fn sigmoid(g: i32, gate: u32) -> i32 {
  let a = u32(round_shift32(abs(g), gate - 15u));
  var s = 1u << 30u;
  if (a < (1u << 19u)) {
    let i = SIGMOID_TABLE + (a >> 9u);
    let low = tables[i];
    s = low + (((tables[i + 1u] - low) * (a & 511u) + 256u) >> 9u);
  }
  return select(i32(s), i32((1u << 30u) - s), g < 0);
}
