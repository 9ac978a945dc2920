// biome-ignore-all lint/correctness/useImportExtensions: the AssemblyScript compiler appends the extension.
import { quantise } from './a8'
import { bitlen, mulrs, rsqrt } from './scalar'

/**
 * RMS norm of x (n i32), times the gains (Q18), as an A8 vector. `scratch` holds 4·(n + 256) bytes for the normed values,
 * then 8 bytes for each 32 values. `epsilon` is in the units of x squared.
 */
export function norm(
  x: usize,
  gains: usize,
  n: i32,
  epsilon: u64,
  planes: i32,
  out: usize,
  scratch: usize,
): void {
  const parts = scratch + ((<usize>(n + 256)) << 2)
  const blocks = (n + 31) >> 5
  let smax = 0
  for (let b = 0; b < blocks; b++) {
    const at = x + ((<usize>b) << 7)
    const count = min(32, n - (b << 5))
    let most: u32 = 0
    for (let i = 0; i < count; i++) most = max(most, <u32>abs(load<i32>(at + ((<usize>i) << 2))))
    const s = max(0, bitlen(most) - 13)
    const half = (1 << s) >> 1
    let Q: u32 = 0
    for (let i = 0; i < count; i++) {
      const a = <u32>(abs(load<i32>(at + ((<usize>i) << 2))) + half) >> s
      Q += a * a
    }
    store<u32>(parts + ((<usize>b) << 3), Q)
    store<i32>(parts + ((<usize>b) << 3), s, 4)
    smax = max(smax, s)
  }
  let W: u64 = epsilon >> (smax << 1)
  for (let b = 0; b < blocks; b++) {
    const part = parts + ((<usize>b) << 3)
    W += <u64>load<u32>(part) >> ((smax - load<i32>(part, 4)) << 1)
  }
  const root = rsqrt(max<u64>(1, W))
  const Y = <i64>(root & 0xffffffff)
  const k = <i32>(root >> 32) + smax
  for (let i: usize = 0; i < (<usize>n) << 2; i += 4) {
    const scaled = mulrs(<i64>load<i32>(x + i), Y, k)
    store<i32>(scratch + i, mulrs(<i64>scaled, <i64>load<i32>(gains + i), 30))
  }
  quantise(scratch, n, planes, out, 0, (n + 255) >> 8)
}
