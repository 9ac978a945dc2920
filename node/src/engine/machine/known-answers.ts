import { type MachineEngine, type Manifest, Oracle, type RunRequest } from '@apus/shared/machine'
import { noise, SeededBundle } from './seeded-bundle.ts'

const SEED = 20_261_122

/** Small, yet with one plane and two, groups of heads, a short last block and a wide output. */
const MANIFEST: Manifest = {
  machine: 1,
  name: 'known answers',
  layers: 2,
  width: 72,
  heads: 4,
  kvHeads: 2,
  headSize: 16,
  hidden: 300,
  vocab: 1100,
  context: 128,
  tied: true,
  epsilon: 3_092_376,
  formats: { residual: 16, qk: 16, value: 16, gate: 16, hidden: 14 },
  planes: { qkv: 1, o: 2, gateUp: 1, down: 2, output: 1 },
  stop: [],
  tokenizerBytes: 0,
}

/** A greedy run past a page's edge and one that uses the whole sampler. */
const REQUESTS: readonly RunRequest[] = [0, 52_429].map(temperature => ({
  prompt: Array.from({ length: 63 }, (_, i) => noise(SEED, i) % MANIFEST.vocab),
  sampler: {
    temperature,
    topK: 40,
    topP: 62_259,
    repeatPenalty: 72_090,
    penaltyWindow: 64,
    frequencyPenalty: 655,
    presencePenalty: 1311,
    seed: 0,
  },
  noise: [noise(SEED, 1000), noise(SEED, 1001)],
  maxTokens: 4,
  stop: [],
}))

/** Whether a machine gives the oracle's bytes for a small model; computing both takes part of a second. */
export async function givesKnownAnswers(
  load: (leaves: Iterable<readonly [index: number, leaf: Uint8Array]>) => Promise<MachineEngine>,
): Promise<boolean> {
  const bundle = new SeededBundle(MANIFEST, SEED)
  const oracle = new Oracle(bundle)
  const machine = await load(bundle.leaves())
  const { signal } = new AbortController()
  try {
    const given = await Promise.all(REQUESTS.map(request => machine.run(request, signal)))
    for (const [i, request] of REQUESTS.entries()) {
      if (JSON.stringify(await oracle.run(request, signal)) !== JSON.stringify(given[i])) return false
    }
    return true
  } finally {
    await machine.close()
  }
}
