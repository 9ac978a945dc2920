// group, out and out.quant: joins the pages of each head, divides, and makes one A8 block (SPEC.md 3.5).
@group(0) @binding(0) var<storage, read> columns: array<vec4u>;
@group(0) @binding(1) var<storage, read> partials: array<i32>;
@group(0) @binding(2) var<storage, read> tables: array<u32>;
@group(0) @binding(3) var<storage, read_write> quants: array<u32>;
@group(0) @binding(4) var<storage, read_write> scales: array<u32>;
@group(0) @binding(5) var<uniform> shape: Shape;

const RECORD = HEAD_SIZE + 4u;

/// (M, E') over pages first..last-1 of the head whose partials start at base.
fn peaks(base: u32, first: u32, last: u32) -> vec2i {
  var found = vec2i(-SAT, 0);
  for (var p = first; p < last; p++) {
    found = max(found, vec2i(partials[base + p * RECORD], partials[base + p * RECORD + 1u]));
  }
  return found;
}

fn factor(top: i32, m: i32) -> u32 {
  return exp2n(u32(top - m)) >> 6u;
}

fn attend(column: u32, head: u32, i: u32) -> i32 {
  let own = columns[column];
  let pages = (own.y >> 6u) + 1u;
  let base = (own.w * shape.heads + head * pages) * RECORD;
  let top = peaks(base, 0u, pages);
  var sum = vec2u();
  var acc = vec2u();
  for (var first = 0u; first < pages; first += 64u) {
    let last = min(pages, first + 64u);
    let group = peaks(base, first, last);
    var group_sum = vec2u();
    var group_acc = vec2u();
    for (var p = first; p < last; p++) {
      let at = base + p * RECORD;
      let f = factor(group.x, partials[at]);
      group_sum = add(group_sum, mul_uu(u32(partials[at + 2u]), f));
      group_acc = add(group_acc, mul_iu(partials[at + 4u + i], f >> u32(group.y - partials[at + 1u])));
    }
    let f = factor(top.x, group.x);
    sum = add(sum, mul_uu(round_shift(group_sum, 24u).x, f));
    acc = add(acc, mul_iu(bitcast<i32>(round_shift(group_acc, 28u).x), f >> u32(top.y - group.y)));
  }
  let negative = bitcast<i32>(acc.y) < 0;
  if (negative) {
    acc = negate(acc);
  }
  let z = bit_length64(sum) - 31u;
  let q = i32(divide(shift_right(acc, z).x, shift_right(sum, z).x));
  var v: i32;
  if (top.y >= 6) {
    v = sat(q << u32(top.y - 6));
  } else {
    v = round_shift32(q, u32(6 - top.y));
  }
  return select(v, -v, negative);
}

@compute @workgroup_size(256)
fn main(@builtin(workgroup_id) group: vec3u, @builtin(local_invocation_index) thread: u32) {
  let element = group.x * 256u + thread;
  var v = 0;
  if (element < shape.heads * HEAD_SIZE) {
    v = attend(group.y, element / HEAD_SIZE, element % HEAD_SIZE);
  }
  write_a8(thread, v, group.y, group.x, (shape.heads * HEAD_SIZE + 255u) / 256u);
}
