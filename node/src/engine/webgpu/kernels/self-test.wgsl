// Every primitive that kernels build upon, one a case: (operation, a, b, c) to two words.
@group(0) @binding(0) var<storage, read> cases: array<vec4u>;
@group(0) @binding(1) var<storage, read> tables: array<u32>;
@group(0) @binding(2) var<storage, read_write> answers: array<vec2u>;

fn answer(operation: u32, a: u32, b: u32, c: u32) -> vec2u {
  let x = bitcast<i32>(a);
  let y = bitcast<i32>(b);
  switch operation {
    case 0u: {
      return vec2u(bitcast<u32>(mul_round(x, y, c)), 0u);
    }
    case 1u: {
      return vec2u(bitcast<u32>(saturate64(round_shift(vec2u(a, b), c))), 0u);
    }
    case 2u: {
      return vec2u(bitcast<u32>(round_shift32(x, c)), bit_length(a));
    }
    case 3u: {
      return vec2u(bitcast<u32>(saturate64(round_shift(mul_iu(x, b), c))), 0u);
    }
    case 4u: {
      return vec2u(exp2n(a), 0u);
    }
    case 5u: {
      return vec2u(bitcast<u32>(sigmoid(x, c)), 0u);
    }
    case 6u: {
      return vec2u(bitcast<u32>(sine(a)), bitcast<u32>(cosine(a)));
    }
    case 7u: {
      return vec2u(phase(c, vec2u(a, b)), 0u);
    }
    case 8u: {
      return rsqrt(vec2u(a, b));
    }
    case 9u: {
      return vec2u(log2q(a), 0u);
    }
    case 10u: {
      return philox(vec2u(a, b), vec4u(c, c ^ 0x55555555u, 0u, 1u)).xw;
    }
    case 11u: {
      return vec2u(bitcast<u32>(divide_round(x, b)), 0u);
    }
    case 12u: {
      return vec2u(divide(a, b), 0u);
    }
    case 13u: {
      return vec2u(bitcast<u32>(dot4I8Packed(a, b)), pack4xI8(unpack4xI8(a) / 2i));
    }
    case 14u: {
      return shift_right(vec2u(a, b), c);
    }
    case 15u: {
      return add(negate(vec2u(a, b)), mul_ii(x, y));
    }
    case 16u: {
      return vec2u(bitcast<u32>(gumbel(philox(vec2u(a, b), vec4u(c >> 2u, c, 0u, 0u))[c & 3u])), 0u);
    }
    default: {
      return vec2u(0xdeadbeefu, 0u);
    }
  }
}

@compute @workgroup_size(64)
fn main(@builtin(global_invocation_id) id: vec3u) {
  if (id.x < arrayLength(&cases)) {
    let c = cases[id.x];
    answers[id.x] = answer(c.x, c.y, c.z, c.w);
  }
}
