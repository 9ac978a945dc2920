// The K/V leaf of each page of one layer: SHA-256 of the domain prefix and the page, rows not written being zero (SPEC.md 4).
@group(0) @binding(0) var<storage, read> request: array<u32>;
@group(0) @binding(1) var<storage, read> pages: array<u32>;
@group(0) @binding(2) var<storage, read> page_table: array<u32>;
@group(0) @binding(3) var<storage, read_write> digests: array<u32>;
@group(0) @binding(4) var<uniform> shape: Shape;

/// Bytes of the prefix: 0x00, the domain's length, the domain.
const PREFIX_BYTES = 21u;

fn rotate(v: u32, n: u32) -> u32 {
  return (v >> n) | (v << (32u - n));
}

fn swap(v: u32) -> u32 {
  return (v << 24u) | ((v & 0xff00u) << 8u) | ((v >> 8u) & 0xff00u) | (v >> 24u);
}

fn page_words() -> u32 {
  return 16u + 32u * shape.head_size;
}

fn message_bytes() -> u32 {
  return PREFIX_BYTES + page_words() * 4u;
}

fn chunks() -> u32 {
  return (message_bytes() + 9u + 63u) / 64u;
}

/// Word `i` of the page with only the first `rows` rows, as stored.
fn page_word(page: u32, i: u32, rows: u32) -> u32 {
  if (i < 16u) {
    let whole = min(4u, rows - min(rows, i * 4u));
    return pages[page + i] & select((1u << ((8u * whole) & 31u)) - 1u, 0xffffffffu, whole == 4u);
  }
  if (i >= page_words() || (i - 16u) / (shape.head_size / 2u) >= rows) {
    return 0u;
  }
  return pages[page + i];
}

/// Big-endian word `i` of the padded message. The prefix ends one byte into word 5.
fn message_word(page: u32, i: u32, rows: u32) -> u32 {
  if (i < 5u) {
    return request[5u + i];
  }
  if (i == chunks() * 16u - 1u) {
    return message_bytes() * 8u;
  }
  let at = i - 5u;
  var word = (swap(page_word(page, at, rows)) >> 8u);
  if (at == 0u) {
    word |= request[10];
  } else {
    word |= swap(page_word(page, at - 1u, rows)) << 24u;
  }
  if (at == page_words()) {
    word |= 0x00800000u;
  }
  return word;
}

// request: sequence, written positions, pages of the sequence, layer, rounds; at 5 the prefix as big-endian words; at 11
// the round constants. Data here, so that compilers for processors keep the loop a loop.
@compute @workgroup_size(64)
fn main(@builtin(global_invocation_id) id: vec3u) {
  let written = request[1];
  let count = request[2] * shape.kv_heads * 2u;
  if (id.x >= count) {
    return;
  }
  let page = id.x / (shape.kv_heads * 2u);
  let unit = id.x % (shape.kv_heads * 2u);
  let rows = min(64u, written - page * 64u);
  let at = (page_table[request[0] * shape.table_pages + page] * shape.kv_heads * 2u + unit) * page_words();
  var state = array<u32, 8>(0x6a09e667u, 0xbb67ae85u, 0x3c6ef372u, 0xa54ff53au, 0x510e527fu, 0x9b05688cu, 0x1f83d9abu, 0x5be0cd19u);
  for (var chunk = 0u; chunk < chunks(); chunk++) {
    var w: array<u32, 16>;
    var a = state[0];
    var b = state[1];
    var c = state[2];
    var d = state[3];
    var e = state[4];
    var f = state[5];
    var g = state[6];
    var h = state[7];
    for (var i = 0u; i < request[4]; i++) {
      let j = i & 15u;
      if (i < 16u) {
        w[j] = message_word(at, chunk * 16u + i, rows);
      } else {
        let x = w[(i + 1u) & 15u];
        let z = w[(i + 14u) & 15u];
        w[j] += (rotate(x, 7u) ^ rotate(x, 18u) ^ (x >> 3u)) + w[(i + 9u) & 15u]
          + (rotate(z, 17u) ^ rotate(z, 19u) ^ (z >> 10u));
      }
      let t1 = h + (rotate(e, 6u) ^ rotate(e, 11u) ^ rotate(e, 25u)) + ((e & f) ^ (~e & g)) + request[11u + i] + w[j];
      let t2 = (rotate(a, 2u) ^ rotate(a, 13u) ^ rotate(a, 22u)) + ((a & b) ^ (a & c) ^ (b & c));
      h = g;
      g = f;
      f = e;
      e = d + t1;
      d = c;
      c = b;
      b = a;
      a = t1 + t2;
    }
    state[0] += a;
    state[1] += b;
    state[2] += c;
    state[3] += d;
    state[4] += e;
    state[5] += f;
    state[6] += g;
    state[7] += h;
  }
  let leaf = ((page * shape.layers + request[3]) * shape.kv_heads * 2u + unit) * 8u;
  for (var i = 0u; i < 8u; i++) {
    digests[leaf + i] = swap(state[i]);
  }
}
