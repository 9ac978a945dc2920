/** A small seeded generator (mulberry32) for tests: equal seeds, equal streams. */
export interface Random {
  /** 0 ≤ n < 2^32 */
  u32(): number
  /** 0 ≤ n < limit */
  below(limit: number): number
  /** 0 ≤ x < 1 */
  unit(): number
  /** About normal, mean 0, deviation 1. */
  normal(): number
  pick<T>(from: readonly T[]): T
}

/** The seed of a random game of the suite; `npm run soak` gives every round another one. */
export const gameSeed = (seed: number): number => (seed + Number(process.env.APUS_SOAK_ROUND ?? 0)) % 2 ** 31

export function seededRandom(seed: number): Random {
  let state = seed >>> 0
  const u32 = (): number => {
    state = (state + 0x6d2b79f5) >>> 0
    let t = Math.imul(state ^ (state >>> 15), state | 1)
    t = (t + Math.imul(t ^ (t >>> 7), t | 61)) ^ t
    return (t ^ (t >>> 14)) >>> 0
  }
  const unit = (): number => u32() / 2 ** 32
  const below = (limit: number): number => Math.floor(unit() * limit)
  return {
    u32,
    unit,
    below,
    // Twelve uniforms: only + and -, so the same on every platform.
    normal: () => Array.from({ length: 12 }, unit).reduce((a, b) => a + b, 0) - 6,
    pick: from => from[below(from.length)]!,
  }
}
