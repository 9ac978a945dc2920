// pick.tile: the greatest noisy score of a tile among the tokens kept (SPEC.md 3.7).
@group(0) @binding(0) var<storage, read> columns: array<vec4u>;
@group(0) @binding(1) var<storage, read> samplers: array<Sampler>;
@group(0) @binding(2) var<storage, read> logits: array<i32>;
@group(0) @binding(3) var<storage, read> limits: array<vec2i>;
@group(0) @binding(4) var<storage, read> tables: array<u32>;
@group(0) @binding(5) var<storage, read_write> tiles: array<vec2i>;

fn philox(key: vec2u, counter: vec4u) -> vec4u {
  var c = counter;
  var k = key;
  for (var round = 0; round < 10; round++) {
    let a = mul_uu(0xd2511f53u, c.x);
    let b = mul_uu(0xcd9e8d57u, c.z);
    c = vec4u(b.y ^ c.y ^ k.x, b.x, a.y ^ c.w ^ k.y, a.x);
    k += vec2u(0x9e3779b9u, 0xbb67ae85u);
  }
  return c;
}

/// log2 of n in Q24, n >= 1.
fn log2q(n: u32) -> u32 {
  let b = bit_length(n) - 1u;
  let m = (n << (31u - b)) & 0x7fffffffu;
  let i = LOG2_TABLE + (m >> 23u);
  let low = tables[i];
  return (b << 24u) + low + (((tables[i + 1u] - low) * ((m >> 8u) & 32767u) + 16384u) >> 15u);
}

fn gumbel(random: u32) -> i32 {
  let a = random | 1u;
  if (a < 0x800000u) {
    return 2097152 - round_shift32(i32(log2q(a)), 8u) - 34653 - i32(((a >> 9u) * 47274u) >> 23u);
  }
  return 1572864 - round_shift32(i32(log2q(536870912u - log2q(0u - a))), 8u);
}

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
    if (token < VOCAB) {
      let z = logits[group.y * LOGIT_STRIDE + token];
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
