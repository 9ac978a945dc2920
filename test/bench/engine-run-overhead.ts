import { encodeCheckpoint, pageLeaf, residualDigest } from '../../shared/src/machine/digests.ts'
import { openMachine, timedRun } from './engine-machine.ts'
import { type RunnerOrder, SHORT_PROMPT, takeTurns } from './engine-turns.ts'

/** Processor milliseconds of a decoded token without commitments, and of a token's commitments alone. */
export interface OverheadTurn {
  readonly tokenMs: number
  readonly commitMs: number
}

/** Repetitions timed together, so that the clock's steps do not matter. */
const REPETITIONS = 20
const PAGE_ROWS = 64

const { path, tokens } = JSON.parse(process.argv[2] ?? '') as RunnerOrder
const bare = await openMachine(path, false)
const { width, layers, kvHeads, headSize } = bare.manifest
const x = Int32Array.from({ length: width }, (_, i) => i * 77_777)
const page = new Uint8Array(PAGE_ROWS * (1 + 2 * headSize)).fill(77)
/** Pages that 64 tokens fill. */
const pages = layers * kvHeads * 2

/** The least time of several attempts. */
function least(work: () => void): number {
  let best = Number.POSITIVE_INFINITY
  for (let attempt = 0; attempt < REPETITIONS; attempt++) {
    const from = performance.now()
    for (let i = 0; i < REPETITIONS; i++) work()
    best = Math.min(best, (performance.now() - from) / REPETITIONS)
  }
  return best
}

takeTurns(async (): Promise<OverheadTurn> => {
  const { cpuMs } = await timedRun(bare, SHORT_PROMPT, tokens + 1, 1)
  const checkpointMs = least(() => encodeCheckpoint(0, 0, 0, residualDigest(x)))
  const pageMs = least(() => pageLeaf(page))
  return { tokenMs: cpuMs, commitMs: checkpointMs + (pageMs * pages) / PAGE_ROWS }
})
