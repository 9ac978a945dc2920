// linear: y = W x, with bias, for BATCH columns at a time (SPEC.md 3.1). A team of threads computes TEAM_ROWS rows: four
// threads share a block of 256 columns, each taking every fourth run of 16, so that a sum stays in 32 bits and 64-bit
// arithmetic is needed once for 64 weights. SOLO: each thread computes its rows alone, without a barrier.
@group(0) @binding(0) var<storage, read> weights: array<vec4u>;
@group(0) @binding(1) var<storage, read> multipliers: array<vec4u>;
@group(0) @binding(2) var<storage, read> rows: array<vec2u>;
@group(0) @binding(3) var<uniform> shard: Shard;
@group(0) @binding(4) var<storage, read> quants: array<vec4u>;
@group(0) @binding(5) var<storage, read> scales: array<u32>;
@group(0) @binding(6) var<storage, read_write> y: array<i32>;

const SEGMENT_BLOCKS = 32u;
const OUTPUTS = TEAM_ROWS * BATCH;

var<workgroup> shared_sums: array<vec2u, OUTPUTS * WORKGROUP>;

fn dot16(a: vec4u, b: vec4u) -> i32 {
  return dot4I8Packed(a.x, b.x) + dot4I8Packed(a.y, b.y) + dot4I8Packed(a.z, b.z) + dot4I8Packed(a.w, b.w);
}

/// Four runs of 16 weights of a row's block; runs beyond the row's end are zero.
fn load_weights(row: u32, run: u32) -> array<vec4u, 4> {
  let at = row * shard.row_quads + run;
  var w = array<vec4u, 4>();
  for (var i = 0u; i < 4u; i++) {
    if (run + 4u * i < shard.row_quads) {
      w[i] = weights[at + 4u * i];
    }
  }
  return w;
}

/// Adds a quarter of a block, the runs part, part + 4, part + 8 and part + 12, to the sums of all outputs.
fn add_quarter(sums_of: ptr<function, array<Wide, OUTPUTS>>, first_row: u32, first_column: u32, block: u32, part: u32) {
  let half = vec4u(16u * (part >> 1u));
  var w = array<array<vec4u, 4>, TEAM_ROWS>();
  var m = array<vec4i, TEAM_ROWS>();
  for (var r = 0u; r < TEAM_ROWS; r++) {
    let row = min(first_row + r, shard.rows - 1u);
    w[r] = load_weights(row, block * 16u + part);
    m[r] = vec4i((multipliers[row * shard.blocks + block] >> half) & vec4u(0xffffu));
  }
  for (var c = 0u; c < BATCH; c++) {
    for (var plane = 0u; plane < PLANES; plane++) {
      let at = ((first_column + c) * PLANES + plane) * shard.blocks + block;
      let run = at * 16u + part;
      let a = array(quants[run], quants[run + 4u], quants[run + 8u], quants[run + 12u]);
      let scale = scales[at];
      for (var r = 0u; r < TEAM_ROWS; r++) {
        let t = dot16(w[r][0], a[0]) * m[r].x + dot16(w[r][1], a[1]) * m[r].y
          + dot16(w[r][2], a[2]) * m[r].z + dot16(w[r][3], a[3]) * m[r].w;
        let i = c * TEAM_ROWS + r;
        (*sums_of)[i] = add((*sums_of)[i], mul_iu(t, scale));
      }
    }
  }
}

/// Sums over the threads of a team; the first of them has the result.
fn join_team(sums_of: ptr<function, array<Wide, OUTPUTS>>, thread: u32, lane: u32) {
  for (var i = 0u; i < OUTPUTS; i++) {
    shared_sums[i * WORKGROUP + thread] = (*sums_of)[i];
  }
  workgroupBarrier();
  for (var span = shard.team / 2u; span > 0u; span >>= 1u) {
    if (lane < span) {
      for (var i = 0u; i < OUTPUTS; i++) {
        let at = i * WORKGROUP + thread;
        shared_sums[at] = add(shared_sums[at], shared_sums[at + span]);
      }
    }
    workgroupBarrier();
  }
  for (var i = 0u; i < OUTPUTS; i++) {
    (*sums_of)[i] = shared_sums[i * WORKGROUP + thread];
  }
  workgroupBarrier();
}

@compute @workgroup_size(WORKGROUP)
fn main(@builtin(workgroup_id) group: vec3u, @builtin(local_invocation_index) thread: u32) {
  var lane = 0u;
  var first_row = (group.y * WORKGROUP + thread) * TEAM_ROWS;
  if (!SOLO) {
    lane = thread % shard.team;
    first_row = (group.y * (WORKGROUP / shard.team) + thread / shard.team) * TEAM_ROWS;
  }
  let first_column = group.x * BATCH;
  var totals = array<Wide, OUTPUTS>();

  for (var first = 0u; first < shard.blocks; first += SEGMENT_BLOCKS) {
    // Said outright: a variable of a loop is not zero again in every compiler.
    var segment_sums = array<Wide, OUTPUTS>();
    let end = min(shard.blocks, first + SEGMENT_BLOCKS);
    if (SOLO) {
      for (var quarter = first * 4u; quarter < end * 4u; quarter++) {
        add_quarter(&segment_sums, first_row, first_column, quarter >> 2u, quarter & 3u);
      }
    } else {
      for (var block = first + (lane >> 2u); block < end; block += shard.team / 4u) {
        add_quarter(&segment_sums, first_row, first_column, block, lane & 3u);
      }
      join_team(&segment_sums, thread, lane);
    }
    if (lane == 0u) {
      for (var i = 0u; i < OUTPUTS; i++) {
        let row = rows[min(first_row + i % TEAM_ROWS, shard.rows - 1u)];
        let bias = select(0, bitcast<i32>(row.y), first == 0u);
        let v = saturate64(add(round_shift(segment_sums[i], row.x), widen(bias)));
        totals[i] = add(totals[i], widen(v));
      }
    }
  }
  if (lane != 0u) {
    return;
  }
  for (var i = 0u; i < OUTPUTS; i++) {
    let row = first_row + i % TEAM_ROWS;
    if (row < shard.rows) {
      let at = (first_column + i / TEAM_ROWS) * shard.stride + shard.first_row + row;
      let v = saturate64(totals[i]);
      y[at] = select(v, sat(y[at] + v), shard.residual != 0u);
    }
  }
}
