// The tables and scalar functions of SPEC.md section 2. `tables` is EXP2, SIN, SIGMOID, LOG2 in this order.
const SIN_TABLE = 257u;
const SIGMOID_TABLE = 1283u;
const LOG2_TABLE = 2309u;

/// 2^(-d) in Q30, d in Q16.
fn exp2n(d: u32) -> u32 {
  let n = d >> 16u;
  if (n > 30u) {
    return 0u;
  }
  let i = (d >> 8u) & 255u;
  let high = tables[i];
  return (high - (((high - tables[i + 1u]) * (d & 255u) + 128u) >> 8u)) >> n;
}
