import { decodeCanonical, encodeCanonical } from '@apus/shared/hashing'
import type { MachineEngine } from '@apus/shared/machine'
import { CpuMachine } from '../../node/src/engine/cpu/cpu-machine.ts'
import { BundleFile } from '../../node/src/models/store/bundle-file.ts'
import { promptOf, Stopwatch } from './engine-turns.ts'

const GREEDY = {
  temperature: 0,
  topK: 0,
  topP: 65_536,
  repeatPenalty: 65_536,
  frequencyPenalty: 0,
  presencePenalty: 0,
  penaltyWindow: 0,
  seed: 0,
} as const

/** Enough for a run of the benchmark. */
const CACHE_BYTES = 2 ** 26

/** A bundle on one thread, without its stop tokens, so that as many tokens are decoded as are asked for. */
export async function openMachine(path: string, commits: boolean): Promise<CpuMachine> {
  const bundle = await BundleFile.open(path)
  async function* endless() {
    for await (const [index, leaf] of bundle.checkedLeaves()) {
      const own = index === 0 ? encodeCanonical({ ...(decodeCanonical(leaf) as object), stop: [] }) : leaf
      yield [index, own] as const
    }
  }
  try {
    return await CpuMachine.load(endless(), { threads: 1, cacheBytes: CACHE_BYTES, commits })
  } finally {
    await bundle.close()
  }
}

/** A greedy run from a prompt of ordinary tokens to its complete result. */
export async function timedRun(
  machine: MachineEngine,
  prompt: number,
  tokens: number,
  row: number,
): Promise<Stopwatch> {
  const watch = new Stopwatch(row)
  const request = {
    prompt: promptOf(prompt, machine.manifest.vocab),
    sampler: GREEDY,
    noise: [0, 0],
    maxTokens: tokens,
    stop: [],
  } as const
  await machine.run(request, new AbortController().signal, () => watch.token())
  return watch
}
