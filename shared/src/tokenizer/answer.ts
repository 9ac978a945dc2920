/** A stop string has at most 64 characters; 64 pieces bound what its proof must open. */
export const STOP_LOOKBACK = 64

/**
 * The answer that pieces spell: their bytes as UTF-8 (a broken character becomes U+FFFD), without the one leading
 * space that tokenizers put before a first word, cut before the earliest stop string.
 */
export function answerText(pieces: readonly Uint8Array[], stop: readonly string[] = []): string {
  const text = Buffer.concat(pieces).toString('utf8')
  const end = Math.min(text.length, ...stop.map(s => text.indexOf(s)).filter(at => at >= 0))
  return text.slice(text.startsWith(' ') ? 1 : 0, end)
}

/**
 * Whether the last piece completes a stop string. Only bytes within the last `STOP_LOOKBACK` pieces count, so that
 * the question can be answered from a bounded number of tokens.
 */
export function endsAnswer(pieces: readonly Uint8Array[], stop: readonly string[]): boolean {
  if (stop.length === 0) return false
  const tail = Buffer.concat(pieces.slice(-STOP_LOOKBACK))
  const before = tail.length - (pieces.at(-1)?.length ?? 0)
  return stop.some(s => {
    const bytes = Buffer.from(s, 'utf8')
    return tail.indexOf(bytes, Math.max(0, before - bytes.length + 1)) >= 0
  })
}
