/// Philox4x32-10.
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

/// -log2(-log2 u) in Q16 for u = 1 - random / 2^32.
fn gumbel(random: u32) -> i32 {
  let a = random | 1u;
  if (a < 0x800000u) {
    return 2097152 - round_shift32(i32(log2q(a)), 8u) - 34653 - i32(((a >> 9u) * 47274u) >> 23u);
  }
  return 1572864 - round_shift32(i32(log2q(536870912u - log2q(0u - a))), 8u);
}
