// norm: partial sums, scale and A8 of one block (SPEC.md 3.3). Every workgroup computes the scale for itself: the
// residual is small and lies in cache, and a second dispatch would cost more than the repeated sum.
@group(0) @binding(0) var<storage, read> x: array<vec4i>;
@group(0) @binding(1) var<storage, read> gains: array<i32>;
@group(0) @binding(2) var<storage, read_write> quants: array<u32>;
@group(0) @binding(3) var<storage, read_write> scales: array<u32>;
@group(0) @binding(4) var<uniform> shape: Shape;

var<workgroup> largest_shift: atomic<u32>;
var<workgroup> sum_low: atomic<u32>;
var<workgroup> sum_high: atomic<u32>;

/// (shift, sum of squares) of 32 values.
fn part(column: u32, index: u32) -> vec2u {
  let first = (column * shape.x_stride + index * 32u) / 4u;
  let quads = min(8u, (shape.x_stride - index * 32u) / 4u);
  var peak = vec4u();
  for (var i = 0u; i < quads; i++) {
    peak = max(peak, vec4u(abs(x[first + i])));
  }
  let m = max(max(peak.x, peak.y), max(peak.z, peak.w));
  let s = u32(max(0, i32(bit_length(m)) - 13));
  let half = (1u << s) >> 1u;
  var sum = vec4u();
  for (var i = 0u; i < quads; i++) {
    let a = (vec4u(abs(x[first + i])) + half) >> vec4u(s);
    sum += a * a;
  }
  return vec2u(s, sum.x + sum.y + sum.z + sum.w);
}

@compute @workgroup_size(256)
fn main(@builtin(workgroup_id) group: vec3u, @builtin(local_invocation_index) thread: u32) {
  let column = group.y;
  let parts = (shape.width + 31u) / 32u;
  var own = vec2u();
  if (thread < parts) {
    own = part(column, thread);
    atomicMax(&largest_shift, own.x);
  }
  workgroupBarrier();
  let shift = atomicLoad(&largest_shift);
  if (thread < parts) {
    let fall = 2u * (shift - own.x);
    let q = select(own.y >> (fall & 31u), 0u, fall >= 32u);
    atomicAdd(&sum_low, q & 0xffffu);
    atomicAdd(&sum_high, q >> 16u);
  }
  workgroupBarrier();
  let low = atomicLoad(&sum_low);
  let high = atomicLoad(&sum_high);
  var total = add(vec2u(low, 0u), vec2u(high << 16u, high >> 16u));
  total = add(total, shift_right(vec2u(shape.epsilon_low, shape.epsilon_high), 2u * shift));
  if (total.x == 0u && total.y == 0u) {
    total.x = 1u;
  }
  let root = rsqrt(total);
  let k = root.y + shift;

  let index = group.x * 256u + thread;
  var v = 0;
  if (index < shape.width) {
    let n = saturate64(round_shift(mul_iu(x[(column * shape.x_stride + index) / 4u][index & 3u], root.x), k));
    v = mul_round(n, gains[index], 30u);
  }
  write_a8(thread, v, column, group.x, (shape.width + 255u) / 256u);
}
