// pick.tile: the greatest noisy score of a tile among the tokens kept (SPEC.md 3.7).
@group(0) @binding(0) var<storage, read> columns: array<vec4u>;
@group(0) @binding(1) var<storage, read> samplers: array<Sampler>;
@group(0) @binding(2) var<storage, read> logits: array<i32>;
@group(0) @binding(3) var<storage, read> limits: array<vec2i>;
@group(0) @binding(4) var<storage, read> tables: array<u32>;
@group(0) @binding(5) var<storage, read_write> tiles: array<vec2i>;
@group(0) @binding(6) var<uniform> shape: Shape;

@compute @workgroup_size(256)
fn main(@builtin(workgroup_id) group: vec3u, @builtin(local_invocation_index) thread: u32) {
  let column = columns[group.y];
  let four = group.x * 256u + thread;
  let key = vec2u(samplers[column.z].key[0], samplers[column.z].key[1]);
  let noise = philox(key, vec4u(four, column.y + 1u, 0u, 0u));
  let limit = limits[group.y];
  var own = NOTHING;
  for (var i = 0u; i < 4u; i++) {
    let token = four * 4u + i;
    if (token < shape.vocab) {
      let z = logits[group.y * shape.vocab + token];
      if (!precedes(limit, vec2i(z, i32(token)))) {
        own = first_of(own, vec2i(z + gumbel(noise[i]), i32(token)));
      }
    }
  }
  let found = argmax(thread, own);
  if (thread == 0u) {
    tiles[group.y * 256u + group.x] = found;
  }
}
