// Makes one A8 block (SPEC.md section 1) of 256 values, one a thread of a workgroup of 256.
// Quants: [column][plane][block][64] words of four i8. Scales: [column][plane][block].
var<workgroup> a8_peak: atomic<u32>;
var<workgroup> a8_values: array<vec2i, 256>;

fn write_a8(thread: u32, v: i32, column: u32, block: u32, blocks: u32) {
  atomicMax(&a8_peak, u32(abs(v)));
  workgroupBarrier();
  let d = max(1u, (atomicLoad(&a8_peak) + 126u) / 127u);
  let q = divide_round(v, d);
  let d2 = max(1u, (d + 253u) / 254u);
  a8_values[thread] = vec2i(q, divide_round(v - q * i32(d), d2));
  workgroupBarrier();
  let first = column * A8_PLANES * blocks + block;
  if (thread < 64u * A8_PLANES) {
    let plane = thread >> 6u;
    let i = (thread & 63u) * 4u;
    let word = pack4xI8(vec4i(a8_values[i][plane], a8_values[i + 1u][plane], a8_values[i + 2u][plane], a8_values[i + 3u][plane]));
    quants[(first + plane * blocks) * 64u + (thread & 63u)] = word;
  }
  if (thread < A8_PLANES) {
    scales[first + thread * blocks] = select(d, d2, thread == 1u);
  }
}
