// act: silu(gate) * up as A8, one block a workgroup (SPEC.md 3.6).
@group(0) @binding(0) var<storage, read> gate_up: array<vec2i>;
@group(0) @binding(1) var<storage, read> tables: array<u32>;
@group(0) @binding(2) var<storage, read_write> quants: array<u32>;
@group(0) @binding(3) var<storage, read_write> scales: array<u32>;
@group(0) @binding(4) var<uniform> shape: Shape;

@compute @workgroup_size(256)
fn main(@builtin(workgroup_id) group: vec3u, @builtin(local_invocation_index) thread: u32) {
  let i = group.x * 256u + thread;
  var v = 0;
  if (i < shape.hidden) {
    let pair = gate_up[group.y * shape.hidden + i];
    v = mul_round(mul_round(pair.x, sigmoid(pair.x, shape.gate), 30u), pair.y, shape.act_shift);
  }
  write_a8(thread, v, group.y, group.x, (shape.hidden + 255u) / 256u);
}
