// rows: rotates queries and keys, makes query, key and value rows, and writes keys and values into their page (SPEC.md 3.4).
@group(0) @binding(0) var<storage, read> columns: array<vec4u>;
@group(0) @binding(1) var<storage, read> projections: array<i32>;
@group(0) @binding(2) var<storage, read> frequencies: array<vec2u>;
@group(0) @binding(3) var<storage, read> tables: array<u32>;
@group(0) @binding(4) var<storage, read> page_table: array<u32>;
@group(0) @binding(5) var<storage, read_write> queries: array<i32>;
@group(0) @binding(6) var<storage, read_write> pages: array<atomic<u32>>;
@group(0) @binding(7) var<uniform> shape: Shape;

var<workgroup> peak: atomic<u32>;

@compute @workgroup_size(64)
fn main(@builtin(workgroup_id) group: vec3u, @builtin(local_invocation_index) thread: u32) {
  let head = group.x;
  let all_heads = shape.heads + 2u * shape.kv_heads;
  let position = columns[group.y].y;
  let in_use = thread < shape.head_size / 2u;
  var a = 0;
  var b = 0;
  if (in_use) {
    let first = (group.y * all_heads + head) * shape.head_size + 2u * thread;
    a = projections[first];
    b = projections[first + 1u];
    if (head < shape.heads + shape.kv_heads) {
      let u = phase(position, frequencies[thread]);
      let c = cosine(u);
      let s = sine(u);
      let rotated = saturate64(round_shift(subtract(mul_ii(a, c), mul_ii(b, s)), 30u));
      b = saturate64(round_shift(add(mul_ii(a, s), mul_ii(b, c)), 30u));
      a = rotated;
    }
    atomicMax(&peak, u32(max(abs(a), abs(b))));
  }
  workgroupBarrier();
  if (!in_use) {
    return;
  }
  let largest = i32(atomicLoad(&peak));
  let limit = select(32640, 2047, head < shape.heads);
  var e = 0u;
  while (round_shift32(largest, e) > limit) {
    e++;
  }
  a = round_shift32(a, e);
  b = round_shift32(b, e);

  if (head < shape.heads) {
    let row = (group.y * shape.heads + head) * (shape.head_size + 4u);
    if (thread == 0u) {
      queries[row] = i32(e);
    }
    queries[row + 4u + 2u * thread] = a;
    queries[row + 5u + 2u * thread] = b;
    return;
  }
  let kind = select(0u, 1u, head >= shape.heads + shape.kv_heads);
  let slot = page_table[columns[group.y].z * shape.table_pages + (position >> 6u)];
  let page = ((slot * shape.kv_heads + head - shape.heads - kind * shape.kv_heads) * 2u + kind) * (16u + 32u * shape.head_size);
  let row = position & 63u;
  if (thread == 0u) {
    // Four rows share a word, and the rows of a batch are written at once.
    let word = page + (row >> 2u);
    let place = 8u * (row & 3u);
    atomicAnd(&pages[word], ~(0xffu << place));
    atomicOr(&pages[word], e << place);
  }
  atomicStore(&pages[page + 16u + row * (shape.head_size / 2u) + thread], (bitcast<u32>(a) & 0xffffu) | (bitcast<u32>(b) << 16u));
}
