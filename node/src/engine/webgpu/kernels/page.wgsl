// page: one query head of one column over one page of keys and values (SPEC.md 3.5).
// Partial: m, E, sum, 0, acc[HEAD_SIZE]; [column][head][page], each column as many pages as it has.
@group(0) @binding(0) var<storage, read> columns: array<vec4u>;
@group(0) @binding(1) var<storage, read> queries: array<i32>;
@group(0) @binding(2) var<storage, read> pages: array<vec4u>;
@group(0) @binding(3) var<storage, read> page_table: array<u32>;
@group(0) @binding(4) var<storage, read> tables: array<u32>;
@group(0) @binding(5) var<storage, read_write> partials: array<i32>;
@group(0) @binding(6) var<uniform> shape: Shape;

const PAGE_QUADS = 4u + 8u * HEAD_SIZE;
const ROW_QUADS = HEAD_SIZE / 8u;

var<workgroup> even: array<vec4i, ROW_QUADS>;
var<workgroup> odd: array<vec4i, ROW_QUADS>;
var<workgroup> row_weights: array<i32, 64>;
var<workgroup> largest_score: atomic<i32>;
var<workgroup> largest_exponent: atomic<u32>;
var<workgroup> sum: atomic<u32>;

fn exponent_of(page: u32, row: u32) -> u32 {
  return (pages[page + (row >> 4u)][(row >> 2u) & 3u] >> (8u * (row & 3u))) & 0xffu;
}

/// The dot product of the query with a key row, before scaling: four lanes that each stay below 2^31.
fn dot_row(row: u32) -> Wide {
  var lanes = vec4i();
  for (var i = 0u; i < ROW_QUADS; i++) {
    let k = bitcast<vec4i>(pages[row + i]);
    lanes += even[i] * ((k << vec4u(16u)) >> vec4u(16u)) + odd[i] * (k >> vec4u(16u));
  }
  return add(add(widen(lanes.x), widen(lanes.y)), add(widen(lanes.z), widen(lanes.w)));
}

@compute @workgroup_size(64)
fn main(@builtin(workgroup_id) group: vec3u, @builtin(local_invocation_index) thread: u32) {
  let page = group.x;
  let head = group.y;
  let column = columns[group.z];
  if (page > (column.y >> 6u)) {
    return;
  }
  let rows = min(64u, column.y + 1u - page * 64u);
  let slot = page_table[column.z * shape.table_pages + page];
  let keys = (slot * shape.kv_heads + head / (shape.heads / shape.kv_heads)) * 2u * PAGE_QUADS;
  let values = keys + PAGE_QUADS;
  let query = (group.z * shape.heads + head) * (HEAD_SIZE + 4u);
  if (thread < ROW_QUADS) {
    let q = query + 4u + thread * 8u;
    even[thread] = vec4i(queries[q], queries[q + 2u], queries[q + 4u], queries[q + 6u]);
    odd[thread] = vec4i(queries[q + 1u], queries[q + 3u], queries[q + 5u], queries[q + 7u]);
  }
  if (thread == 0u) {
    atomicStore(&largest_score, -SAT);
  }
  workgroupBarrier();

  var score = -SAT;
  var exponent = 0u;
  if (thread < rows) {
    let p = dot_row(keys + 4u + thread * ROW_QUADS);
    let c = 2 * shape.qk - 16 - queries[query] - i32(exponent_of(keys, thread));
    if (c >= 1) {
      score = saturate64(round_shift(p, u32(c)));
    } else {
      score = saturate64(shift_left(p, u32(-c)));
    }
    exponent = exponent_of(values, thread);
    atomicMax(&largest_score, score);
    atomicMax(&largest_exponent, exponent);
  }
  workgroupBarrier();
  let m = atomicLoad(&largest_score);
  let e = atomicLoad(&largest_exponent);
  if (thread < rows) {
    let w = min(0xfffffu, exp2n(u32(m - score)) >> 10u);
    atomicAdd(&sum, w);
    row_weights[thread] = i32(w >> (e - exponent));
  }
  workgroupBarrier();

  let partial = (column.w * shape.heads + head * ((column.y >> 6u) + 1u) + page) * (HEAD_SIZE + 4u);
  if (thread == 0u) {
    partials[partial] = m;
    partials[partial + 1u] = i32(e);
    partials[partial + 2u] = i32(atomicLoad(&sum));
  }
  if (thread < HEAD_SIZE / 2u) {
    // The weights are cut into two planes of ten bits, so that each sum stays below 2^31.
    var high = vec2i();
    var low = vec2i();
    for (var j = 0u; j < rows; j++) {
      let word = j * (HEAD_SIZE / 2u) + thread;
      let pair = bitcast<i32>(pages[values + 4u + (word >> 2u)][word & 3u]);
      let v = vec2i((pair << 16u) >> 16u, pair >> 16u);
      let w = row_weights[j];
      high += (w >> 10u) * v;
      low += (w & 1023) * v;
    }
    for (var i = 0u; i < 2u; i++) {
      let acc = round_shift(add(shift_left(widen(high[i]), 10u), widen(low[i])), 12u);
      partials[partial + 4u + 2u * thread + i] = bitcast<i32>(acc.x);
    }
  }
}
