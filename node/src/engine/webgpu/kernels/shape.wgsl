// What a model's manifest says, as `ModelShape` in TypeScript.
struct Shape {
  width: u32,
  /// Words of a column of the residual, a multiple of four.
  x_stride: u32,
  heads: u32,
  kv_heads: u32,
  head_size: u32,
  hidden: u32,
  vocab: u32,
  layers: u32,
  /// Pages that a sequence can have.
  table_pages: u32,
  epsilon_low: u32,
  epsilon_high: u32,
  residual: i32,
  qk: i32,
  gate: u32,
  /// Bits that the product of gate and up loses.
  act_shift: u32,
  spare: u32,
}
