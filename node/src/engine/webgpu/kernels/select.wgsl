// topk.tau and topp.tau: the last token kept, found digit by digit from the most significant (SPEC.md 3.7).
// Limits: the (value, index) of the last token kept by topk, then by topp; the smallest possible when it keeps all.
@group(0) @binding(0) var<storage, read> columns: array<vec4u>;
@group(0) @binding(1) var<storage, read> samplers: array<Sampler>;
@group(0) @binding(2) var<storage, read> logits: array<i32>;
@group(0) @binding(3) var<storage, read> peaks: array<vec2i>;
@group(0) @binding(4) var<storage, read> tables: array<u32>;
@group(0) @binding(5) var<storage, read_write> limits: array<vec2i>;
@group(0) @binding(6) var<uniform> shape: Shape;

/// A count or mass below 2^44 per digit, in two halves of 12 and more bits so that adding stays atomic.
var<workgroup> digit_low: array<atomic<u32>, 256>;
var<workgroup> digit_high: array<atomic<u32>, 256>;
var<workgroup> thread_ties: array<u32, 256>;
var<workgroup> prefix: u32;
var<workgroup> before: Wide;
var<workgroup> target_mass: Wide;
var<workgroup> found: vec2i;

/// The order of values as the order of u32, greatest first.
fn rank(z: i32) -> u32 {
  return ~(bitcast<u32>(z) ^ 0x80000000u);
}

fn value_of(rank_of_it: u32) -> i32 {
  return bitcast<i32>(~rank_of_it ^ 0x80000000u);
}

fn weight(z: i32, top: i32, by_mass: bool) -> u32 {
  return select(1u, exp2n(u32(top - z)) >> 6u, by_mass);
}

fn less(a: Wide, b: Wide) -> bool {
  return a.y < b.y || (a.y == b.y && a.x < b.x);
}

/// ceil(a / b) for a below 2^44 and 1 <= b <= 2^24.
fn divide_up(a: Wide, b: u32) -> u32 {
  let n = add(a, vec2u(b - 1u, 0u));
  var rest = 0u;
  var q = 0u;
  for (var i = 0u; i < 48u; i++) {
    rest = (rest << 1u) | (shift_right(n, 47u - i).x & 1u);
    q = q << 1u;
    if (rest >= b) {
      rest -= b;
      q |= 1u;
    }
  }
  return q;
}

/// Among the tokens up to `limit`, the one at which the running weight reaches `target_mass`.
fn reach(thread: u32, base: u32, top: i32, limit: vec2i, by_mass: bool) {
  for (var digit = 0u; digit < 4u; digit++) {
    atomicStore(&digit_low[thread], 0u);
    atomicStore(&digit_high[thread], 0u);
    workgroupBarrier();
    let shift = 24u - 8u * digit;
    for (var token = thread; token < shape.vocab; token += 256u) {
      let z = logits[base + token];
      let r = rank(z);
      let inside = digit == 0u || (r >> ((shift + 8u) & 31u)) == prefix;
      if (inside && !precedes(limit, vec2i(z, i32(token)))) {
        let w = weight(z, top, by_mass);
        atomicAdd(&digit_low[(r >> shift) & 255u], w & 0xfffu);
        atomicAdd(&digit_high[(r >> shift) & 255u], w >> 12u);
      }
    }
    workgroupBarrier();
    if (thread == 0u) {
      for (var i = 0u; i < 256u; i++) {
        let high = atomicLoad(&digit_high[i]);
        let next = add(add(before, vec2u(atomicLoad(&digit_low[i]), 0u)), vec2u(high << 12u, high >> 20u));
        if (!less(next, target_mass)) {
          prefix = (prefix << 8u) | i;
          break;
        }
        before = next;
      }
    }
    workgroupBarrier();
  }
  // All that is left has one value; the index decides.
  let value = value_of(prefix);
  var ties = 0u;
  let slice = (shape.vocab + 255u) / 256u;
  let end = min(shape.vocab, (thread + 1u) * slice);
  for (var token = thread * slice; token < end; token++) {
    ties += select(0u, 1u, logits[base + token] == value);
  }
  thread_ties[thread] = ties;
  workgroupBarrier();
  var place = divide_up(subtract(target_mass, before), max(1u, weight(value, top, by_mass)));
  for (var i = 0u; i < thread; i++) {
    place -= min(place, thread_ties[i]);
  }
  if (place >= 1u && place <= ties) {
    for (var token = thread * slice; token < end; token++) {
      if (logits[base + token] == value) {
        place -= 1u;
        if (place == 0u) {
          found = vec2i(value, i32(token));
        }
      }
    }
  }
  workgroupBarrier();
}

@compute @workgroup_size(256)
fn main(@builtin(workgroup_id) group: vec3u, @builtin(local_invocation_index) thread: u32) {
  let sequence = columns[group.x].z;
  let base = group.x * shape.vocab;
  let top = peaks[group.x].x;
  let top_k = samplers[sequence].top_k;
  let top_p = samplers[sequence].top_p;
  var limit = NOTHING;
  if (samplers[sequence].greedy == 0u && top_k > 0u && top_k < shape.vocab) {
    if (thread == 0u) {
      target_mass = vec2u(top_k, 0u);
    }
    workgroupBarrier();
    reach(thread, base, top, limit, false);
    limit = workgroupUniformLoad(&found);
  }
  if (samplers[sequence].greedy == 0u && top_p < 65536u) {
    atomicStore(&digit_low[thread], 0u);
    atomicStore(&digit_high[thread], 0u);
    workgroupBarrier();
    for (var token = thread; token < shape.vocab; token += 256u) {
      let z = logits[base + token];
      if (!precedes(limit, vec2i(z, i32(token)))) {
        let w = weight(z, top, true);
        atomicAdd(&digit_low[0], w & 0xfffu);
        atomicAdd(&digit_high[0], w >> 12u);
      }
    }
    workgroupBarrier();
    if (thread == 0u) {
      let high = atomicLoad(&digit_high[0]);
      let mass = add(vec2u(atomicLoad(&digit_low[0]), 0u), vec2u(high << 12u, high >> 20u));
      // (topP * W + 65535) >> 16
      let low = mul_uu(mass.x, top_p);
      let scaled = vec2u(low.x, low.y + mass.y * top_p);
      target_mass = shift_right(add(scaled, vec2u(65535u, 0u)), 16u);
      before = vec2u();
      prefix = 0u;
    }
    workgroupBarrier();
    reach(thread, base, top, limit, true);
    limit = workgroupUniformLoad(&found);
  }
  if (thread == 0u) {
    limits[group.x] = limit;
  }
}
