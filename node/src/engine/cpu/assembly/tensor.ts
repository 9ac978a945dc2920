// biome-ignore-all lint/correctness/useImportExtensions: the AssemblyScript compiler appends the extension.
// A tensor in memory is a list of blocks of eight rows. A block: for each group of 32 columns the multipliers (u16) of the eight
// rows; then for each group the 32 weights of row 0, of row 1, …; then eight shifts (u8) and eight biases (i32). That is the
// order in which the linear kernel reads them, so a tensor is one stream. Rows behind the last are zero.

/** Rows of a block. */
export const ROWS: i32 = 8
/** Columns of a bundle's tile at most. */
export const SEGMENT: i32 = 8192

/** Bytes from one block to the next; `columns` is a multiple of 32. */
export function blockBytes(columns: i32): i32 {
  return ((columns << 3) + (columns >> 1) + 40 + 63) & ~63
}

/** Bytes from a block's beginning to its weights. */
export function weightsAt(columns: i32): i32 {
  return columns >> 1
}

/** Bytes from a block's beginning to its shifts; the biases follow them. */
export function shiftsAt(columns: i32): i32 {
  return (columns << 3) + (columns >> 1)
}

/** Copies a bundle's tile of `rows` rows from row `row` on into a tensor of `columns` columns. */
export function packTile(tile: usize, rows: i32, segment: i32, row: i32, tensor: usize, columns: i32): void {
  const wide = min(SEGMENT, columns - segment * SEGMENT)
  const groups = wide >> 5
  const multipliers = tile + <usize>(rows * wide)
  const shifts = multipliers + <usize>((rows * wide) >> 4)
  const biases = shifts + <usize>rows
  const firstGroup = (<usize>segment) << 8
  for (let r = 0; r < rows; r++) {
    const block = tensor + <usize>((row + r) >> 3) * <usize>blockBytes(columns)
    const inBlock = <usize>((row + r) & 7)
    const weights = block + <usize>weightsAt(columns) + (firstGroup << 8) + (inBlock << 5)
    const packed = block + (firstGroup << 4) + (inBlock << 1)
    for (let g: usize = 0; g < <usize>groups; g++) {
      const from = tile + <usize>(r * wide) + (g << 5)
      v128.store(weights + (g << 8), v128.load(from))
      v128.store(weights + (g << 8), v128.load(from, 16), 16)
      store<u16>(packed + (g << 4), load<u16>(multipliers + ((<usize>(r * groups) + g) << 1)))
    }
    if (segment > 0) continue
    const ends = block + <usize>shiftsAt(columns)
    store<u8>(ends + inBlock, load<u8>(shifts + <usize>r))
    store<i32>(ends + 8 + (inBlock << 2), load<i32>(biases + ((<usize>r) << 2)))
  }
}
