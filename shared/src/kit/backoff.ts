/** The pause (ms) before another try: the first one, doubled with each further failure up to the longest. */
export const backoff = (failures: number, firstMs: number, longestMs: number): number =>
  Math.min(firstMs * 2 ** Math.max(0, failures - 1), longestMs)
