// biome-ignore-all lint/correctness/useImportExtensions: the AssemblyScript compiler appends the extension.
import { blockBytes, blockRows } from './linear'
import { rs } from './scalar'

/** The row of `token` of an embedding tensor as n i32 in Q`residual`. */
export function embed(tensor: usize, rows: i32, n: i32, residual: i32, token: i32, out: usize): void {
  const columns = (n + 31) & ~31
  const perBlock = blockRows(columns)
  const block = token / perBlock
  const here = min(perBlock, rows - block * perBlock)
  const row = token - block * perBlock
  const tile = tensor + <usize>block * <usize>blockBytes(columns)
  const weights = tile + <usize>(row * columns)
  const multipliers = tile + <usize>(here * columns) + <usize>((row * columns) >> 4)
  const shift = <i32>load<u8>(tile + <usize>(here * columns) + <usize>((here * columns) >> 4) + <usize>row)
  const es = shift - 2 - residual
  for (let k = 0; k < n; k++) {
    const w = <i64>load<i8>(weights + <usize>k) * <i64>load<u16>(multipliers + ((<usize>(k >> 5)) << 1))
    store<i32>(out + ((<usize>k) << 2), <i32>(es >= 0 ? rs(w, es) : w << -es))
  }
}
