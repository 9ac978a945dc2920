// The greatest value of a workgroup of 256, lowest index on ties.
const NOTHING = vec2i(-2147483647 - 1, -1);

var<workgroup> best: array<vec2i, 256>;

/// Whether (value, index) a stands before b in the order of tokens; indices compare as u32.
fn precedes(a: vec2i, b: vec2i) -> bool {
  return a.x > b.x || (a.x == b.x && bitcast<u32>(a.y) < bitcast<u32>(b.y));
}

fn first_of(a: vec2i, b: vec2i) -> vec2i {
  return select(b, a, precedes(a, b));
}

fn argmax(thread: u32, own: vec2i) -> vec2i {
  best[thread] = own;
  workgroupBarrier();
  for (var span = 128u; span > 0u; span >>= 1u) {
    if (thread < span) {
      best[thread] = first_of(best[thread], best[thread + span]);
    }
    workgroupBarrier();
  }
  return best[0];
}
