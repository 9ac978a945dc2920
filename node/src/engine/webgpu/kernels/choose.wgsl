// max or pick: the best of all tiles. Greedy sequences have their token after max, the others after pick (SPEC.md 3.7).
@group(0) @binding(0) var<storage, read> columns: array<vec4u>;
@group(0) @binding(1) var<storage, read> samplers: array<Sampler>;
@group(0) @binding(2) var<storage, read> tiles: array<vec2i>;
@group(0) @binding(3) var<storage, read_write> peaks: array<vec2i>;
@group(0) @binding(4) var<storage, read_write> history: array<u32>;
@group(0) @binding(5) var<storage, read_write> chosen: array<u32>;
@group(0) @binding(6) var<storage, read_write> results: array<u32>;
@group(0) @binding(7) var<uniform> shape: Shape;

@compute @workgroup_size(256)
fn main(@builtin(workgroup_id) group: vec3u, @builtin(local_invocation_index) thread: u32) {
  let column = columns[group.x];
  var own = NOTHING;
  if (thread < (shape.vocab + 1023u) / 1024u) {
    own = tiles[group.x * 256u + thread];
  }
  let found = argmax(thread, own);
  if (thread != 0u) {
    return;
  }
  if (PICK == (samplers[column.z].greedy == 0u)) {
    let token = bitcast<u32>(found.y);
    history[column.z * 64u + ((column.y + 1u) & 63u)] = token;
    chosen[column.z] = token;
    results[group.x] = token;
  }
  if (!PICK) {
    peaks[group.x] = found;
  }
}
