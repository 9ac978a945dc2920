/** A neighbouring pair that may merge: `rank` decides, then the leftmost first. */
interface Candidate {
  readonly rank: number
  readonly left: number
  /** End of the right symbol when the candidate was made; it is stale once the pair no longer ends there. */
  readonly end: number
}

/**
 * Byte-pair merging: starts from the given symbols (offsets where each starts, ascending from 0) and merges the pair of
 * lowest rank, leftmost first, until no neighbouring pair has a rank. Returns the starts that are left.
 */
export function mergeSymbols(
  text: string,
  starts: readonly number[],
  rankOf: (left: string, right: string) => number | undefined,
): number[] {
  const count = starts.length
  // A doubly linked list over symbol indices; `ends[i] === starts[i]` marks a symbol that was merged away.
  const ends = starts.map((_, i) => starts[i + 1] ?? text.length)
  const previous = starts.map((_, i) => i - 1)
  const next = starts.map((_, i) => (i + 1 < count ? i + 1 : -1))
  const queue = new CandidateQueue()

  const consider = (left: number, right: number): void => {
    if (left < 0 || right < 0) return
    const middle = starts[right]
    const rank = rankOf(text.slice(starts[left], middle), text.slice(middle, ends[right]))
    if (rank !== undefined) queue.push({ rank, left, end: ends[right] as number })
  }
  for (let i = 1; i < count; i++) consider(i - 1, i)

  for (let best = queue.pop(); best !== undefined; best = queue.pop()) {
    const { left } = best
    const right = next[left] as number
    if (ends[left] === starts[left] || right < 0 || ends[right] !== best.end) continue
    const after = next[right] as number
    ends[left] = best.end
    ends[right] = starts[right] as number
    next[left] = after
    if (after >= 0) previous[after] = left
    consider(previous[left] as number, left)
    consider(left, after)
  }
  return starts.filter((start, i) => ends[i] !== start)
}

/** A binary heap of candidates, the best first. */
class CandidateQueue {
  readonly #heap: Candidate[] = []

  push(candidate: Candidate): void {
    const heap = this.#heap
    let i = heap.length
    heap.push(candidate)
    while (i > 0) {
      const parent = (i - 1) >> 1
      if (!precedes(candidate, heap[parent] as Candidate)) break
      heap[i] = heap[parent] as Candidate
      i = parent
    }
    heap[i] = candidate
  }

  pop(): Candidate | undefined {
    const heap = this.#heap
    const best = heap[0]
    const last = heap.pop()
    if (last === undefined || heap.length === 0) return best
    let i = 0
    for (;;) {
      let child = 2 * i + 1
      if (child >= heap.length) break
      if (child + 1 < heap.length && precedes(heap[child + 1] as Candidate, heap[child] as Candidate)) child++
      if (!precedes(heap[child] as Candidate, last)) break
      heap[i] = heap[child] as Candidate
      i = child
    }
    heap[i] = last
    return best
  }
}

const precedes = (a: Candidate, b: Candidate): boolean =>
  a.rank < b.rank || (a.rank === b.rank && a.left < b.left)
