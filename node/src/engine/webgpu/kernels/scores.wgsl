// scores and max.tile: penalties and temperature over one tile of 1024 tokens, and its greatest (SPEC.md 3.7).
@group(0) @binding(0) var<storage, read> columns: array<vec4u>;
@group(0) @binding(1) var<storage, read> samplers: array<Sampler>;
@group(0) @binding(2) var<storage, read> history: array<u32>;
@group(0) @binding(3) var<storage, read_write> logits: array<i32>;
@group(0) @binding(4) var<storage, read_write> tiles: array<vec2i>;
@group(0) @binding(5) var<uniform> shape: Shape;

var<workgroup> recent: array<u32, 64>;

@compute @workgroup_size(256)
fn main(@builtin(workgroup_id) group: vec3u, @builtin(local_invocation_index) thread: u32) {
  let column = columns[group.y];
  let count = min(samplers[column.z].window, column.y + 1u);
  if (thread < count) {
    recent[thread] = history[column.z * 64u + ((column.y - thread) & 63u)];
  }
  workgroupBarrier();
  var own = NOTHING;
  for (var i = 0u; i < 4u; i++) {
    let token = group.x * 1024u + i * 256u + thread;
    if (token >= shape.vocab) {
      break;
    }
    let at = group.y * shape.vocab + token;
    var l = logits[at];
    var occurrences = 0;
    for (var j = 0u; j < count; j++) {
      occurrences += select(0, 1, recent[j] == token);
    }
    if (occurrences > 0) {
      let factor = select(samplers[column.z].repetition, samplers[column.z].inverse_repetition, l > 0);
      l = mul_round(l, i32(factor), 16u);
      l = sat(l - occurrences * samplers[column.z].frequency - samplers[column.z].presence);
    }
    if (samplers[column.z].greedy == 0u) {
      l = mul_round(l, i32(samplers[column.z].inverse_temperature), 16u);
    }
    logits[at] = l;
    own = first_of(own, vec2i(l, i32(token)));
  }
  let found = argmax(thread, own);
  if (thread == 0u) {
    tiles[group.y * 256u + group.x] = found;
  }
}
