// biome-ignore-all lint/correctness/useImportExtensions: the AssemblyScript compiler appends the extension.
import { rs } from './scalar'
import { blockBytes, shiftsAt, weightsAt } from './tensor'

/** The row of `token` of an embedding tensor as n i32 in Q`residual`. */
export function embed(tensor: usize, n: i32, residual: i32, token: i32, out: usize): void {
  const columns = (n + 31) & ~31
  const block = tensor + <usize>(token >> 3) * <usize>blockBytes(columns)
  const row = <usize>(token & 7)
  const weights = block + <usize>weightsAt(columns) + (row << 5)
  const multipliers = block + (row << 1)
  const es = <i32>load<u8>(block + <usize>shiftsAt(columns) + row) - 2 - residual
  for (let k: usize = 0; k < <usize>n; k++) {
    const group = k >> 5
    const w = <i64>load<i8>(weights + (group << 8) + (k & 31)) * <i64>load<u16>(multipliers + (group << 4))
    store<i32>(out + (k << 2), <i32>(es >= 0 ? rs(w, es) : w << -es))
  }
}
