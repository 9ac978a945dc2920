import { sleep } from '../kit/time.ts'
import type { AoClient, AoResultEdge } from './ao-client.ts'

export interface WatchOptions {
  /** The cursor last handled; from the first result when absent. */
  readonly after?: string | undefined
  /** Pause when there was nothing new, in ms. */
  readonly pollMs: number
  readonly signal: AbortSignal
  /** Told of every failed read; watching goes on. */
  readonly onError: (error: unknown) => void
}

/** Longest pause between failed reads. */
const LONGEST_PAUSE_MS = 30_000

/**
 * Every result of a process, in order and each once, until the signal; failed reads are repeated with growing
 * pauses. Whoever keeps the cursor of what it has handled goes on from there after a restart.
 */
export async function* watchProcess(
  client: Pick<AoClient, 'results'>,
  process: string,
  { after, pollMs, signal, onError }: WatchOptions,
): AsyncGenerator<AoResultEdge, void, void> {
  let cursor = after
  let failures = 0
  while (!signal.aborted) {
    try {
      const page = await client.results(process, { after: cursor })
      failures = 0
      for (const edge of page.edges) {
        if (signal.aborted) return
        yield edge
        cursor = edge.cursor
      }
      if (page.more) continue
    } catch (error) {
      failures++
      onError(error)
    }
    const pause = Math.min(pollMs * 2 ** failures, Math.max(pollMs, LONGEST_PAUSE_MS))
    await sleep(pause, signal).catch(() => {})
  }
}
