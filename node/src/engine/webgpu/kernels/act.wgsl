// act: silu(gate) * up as A8, one block a workgroup (SPEC.md 3.6).
@group(0) @binding(0) var<storage, read> gate_up: array<vec2i>;
@group(0) @binding(1) var<storage, read> tables: array<u32>;
@group(0) @binding(2) var<storage, read_write> quants: array<u32>;
@group(0) @binding(3) var<storage, read_write> scales: array<u32>;

fn sigmoid(g: i32) -> i32 {
  let a = u32(round_shift32(abs(g), GATE - 15u));
  var s = 1u << 30u;
  if (a < (1u << 19u)) {
    let i = SIGMOID_TABLE + (a >> 9u);
    let low = tables[i];
    s = low + (((tables[i + 1u] - low) * (a & 511u) + 256u) >> 9u);
  }
  return select(i32(s), i32((1u << 30u) - s), g < 0);
}

@compute @workgroup_size(256)
fn main(@builtin(workgroup_id) group: vec3u, @builtin(local_invocation_index) thread: u32) {
  let i = group.x * 256u + thread;
  var v = 0;
  if (i < HIDDEN) {
    let pair = gate_up[group.y * HIDDEN + i];
    v = mul_round(mul_round(pair.x, sigmoid(pair.x), 30u), pair.y, ACT_SHIFT);
  }
  write_a8(thread, v, group.y, group.x);
}
