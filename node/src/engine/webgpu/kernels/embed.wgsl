// embed: one row of the embedding tensor as the residual (SPEC.md 3.2). Rows outside this shard are another dispatch's.
@group(0) @binding(0) var<storage, read> columns: array<vec4u>;
@group(0) @binding(1) var<storage, read> chosen: array<u32>;
@group(0) @binding(2) var<storage, read> weights: array<u32>;
@group(0) @binding(3) var<storage, read> multipliers: array<u32>;
@group(0) @binding(4) var<storage, read> rows: array<vec2u>;
@group(0) @binding(5) var<uniform> shard: Shard;
@group(0) @binding(6) var<storage, read_write> x: array<i32>;
@group(0) @binding(7) var<uniform> shape: Shape;

@compute @workgroup_size(64)
fn main(@builtin(workgroup_id) group: vec3u, @builtin(local_invocation_index) thread: u32) {
  let column = columns[group.y];
  let token = select(column.x, chosen[column.z], column.x == 0xffffffffu) - shard.first_row;
  let k = group.x * 64u + thread;
  if (token >= shard.rows || k >= shape.width) {
    return;
  }
  let weight = unpack4xI8(weights[token * (shard.row_quads * 4u) + (k >> 2u)])[k & 3u];
  let pair = multipliers[token * (shard.blocks * 4u) + (k >> 6u)];
  let v = weight * i32((pair >> (16u * ((k >> 5u) & 1u))) & 0xffffu);
  let s = i32(rows[token].x) - 2 - shape.residual;
  x[group.y * shape.x_stride + k] = select(v << u32(-s & 31), round_shift32(v, u32(s & 31)), s >= 0);
}
