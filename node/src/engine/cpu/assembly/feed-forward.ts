// biome-ignore-all lint/correctness/useImportExtensions: the AssemblyScript compiler appends the extension.
import { quantise } from './a8'
import { mulrs, sigmoid } from './scalar'

/**
 * silu(gate)·up of blocks `from` to `to` of n hidden values, as an A8 vector. `rows`: i32 g_0, u_0, g_1, u_1, …; `scratch` holds
 * 4·(n + 256) bytes.
 */
export function activate(
  rows: usize,
  n: i32,
  gate: i32,
  hidden: i32,
  planes: i32,
  out: usize,
  scratch: usize,
  from: i32,
  to: i32,
): void {
  const end = min(n, to << 8)
  const shift = (gate << 1) - hidden
  for (let i = from << 8; i < end; i++) {
    const at = rows + ((<usize>i) << 3)
    const g = load<i32>(at)
    const activated = mulrs(<i64>g, <i64>sigmoid(g, gate), 30)
    store<i32>(scratch + ((<usize>i) << 2), mulrs(<i64>activated, <i64>load<i32>(at, 4), shift))
  }
  quantise(scratch, n, planes, out, from, to)
}
