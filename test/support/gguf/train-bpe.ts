import { BYTE_TO_CHARACTER } from '../../../shared/src/tokenizer/byte-alphabet.ts'

export interface TrainedBpe {
  /** The 256 bytes and then one token per merge. */
  readonly tokens: readonly string[]
  readonly merges: readonly string[]
}

const WORD = / ?\p{L}+| ?\p{N}+|[\r\n]+|\s+| ?[^\s\p{L}\p{N}]+/gu

/** Learns byte-pair merges from a text: the most frequent pair first, ties by text. */
export function trainBpe(corpus: string, mergeCount: number): TrainedBpe {
  const counts = new Map<string, number>()
  for (const [word] of corpus.matchAll(WORD)) counts.set(word, (counts.get(word) ?? 0) + 1)
  const words = [...counts].map(([word, count]) => ({
    symbols: [...Buffer.from(word)].map(byte => BYTE_TO_CHARACTER[byte]!),
    count,
  }))
  const tokens = [...BYTE_TO_CHARACTER]
  const merges: string[] = []
  while (merges.length < mergeCount) {
    const pairs = new Map<string, number>()
    for (const { symbols, count } of words)
      for (let i = 1; i < symbols.length; i++) {
        const pair = `${symbols[i - 1]} ${symbols[i]}`
        pairs.set(pair, (pairs.get(pair) ?? 0) + count)
      }
    const best = [...pairs].sort((a, b) => b[1] - a[1] || (a[0] < b[0] ? -1 : 1))[0]
    if (best === undefined || best[1] < 2) break
    const [left, right] = best[0].split(' ') as [string, string]
    merges.push(best[0])
    if (!tokens.includes(left + right)) tokens.push(left + right)
    for (const word of words)
      for (let i = 1; i < word.symbols.length; i++)
        if (word.symbols[i - 1] === left && word.symbols[i] === right)
          word.symbols.splice(i - 1, 2, left + right)
  }
  return { tokens, merges }
}
