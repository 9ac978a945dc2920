// Some rows of a tensor and what a linear does with them.
struct Shard {
  first_row: u32,
  rows: u32,
  /// Runs of 16 columns of a row, and blocks of 256.
  row_quads: u32,
  blocks: u32,
  /// Outputs of a column, all shards together.
  stride: u32,
  /// 1: add to what stands in the output.
  residual: u32,
  /// Threads that share a row: 4 to 32, a power of two.
  team: u32,
  spare: u32,
}
