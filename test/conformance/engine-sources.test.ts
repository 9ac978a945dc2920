import { mkdtemp, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { CpuMachine } from '../../node/src/engine/cpu/cpu-machine.ts'
import { DEFAULT_PLANES } from '../../node/src/models/import/bundle-manifest.ts'
import { importGguf } from '../../node/src/models/import/import-gguf.ts'
import { BundleFile } from '../../node/src/models/store/bundle-file.ts'
import { Model } from '../../shared/src/machine/model.ts'
import { Sequence } from '../../shared/src/machine/sequence.ts'
import { samplerSettings } from '../../shared/src/protocol/sampler.ts'
import { type RandomModel, randomModel } from '../support/gguf/random-model.ts'
import { bpeVocabulary, sentencePieceVocabulary } from '../support/gguf/vocabularies.ts'
import { best, cosineOf, llamaLogits } from '../support/llama-logits.ts'
import { MemoryBundle } from '../support/machine/random-model.ts'
import { needsLlamaCpp } from '../support/parts.ts'
import { seededRandom } from '../support/random.ts'

const PROMPT = 12
const ANSWER = 24
/** Both engines round inputs to 8 bits, each in its own way. Without the rotation alone the mean falls to 0.74 to 0.96. */
const LEAST_COSINE = 0.998
const LEAST_MEAN_COSINE = 0.999
/** Random models choose among many near-equal tokens. */
const LEAST_AGREEMENT = 0.85

const shape = { layers: 2, heads: 4, kvHeads: 2, headSize: 16, hidden: 160, context: 64 } as const
/** Blocks of 256 need rows of a multiple of it. */
const wide = { ...shape, headSize: 64, hidden: 256 } as const
const llama = { ...shape, vocabulary: sentencePieceVocabulary() }
const qwen2 = { ...shape, architecture: 'qwen2', vocabulary: bpeVocabulary('qwen2') } as const
const MODELS: Readonly<Record<string, Omit<RandomModel, 'seed'>>> = {
  'Llama in F32': { ...llama, type: 'F32' },
  'Llama in F16': { ...llama, type: 'F16' },
  'Llama in BF16': { ...llama, type: 'BF16' },
  'Llama in Q8_0': { ...llama, type: 'Q8_0' },
  'Llama in Q4_0': { ...llama, type: 'Q4_0' },
  'Llama in Q4_K': { ...llama, ...wide, type: 'Q4_K' },
  'Llama in Q5_K': { ...llama, ...wide, type: 'Q5_K' },
  'Llama in Q6_K, output tied': { ...llama, ...wide, type: 'Q6_K', tied: true },
  'Qwen2 in F16': { ...qwen2, type: 'F16' },
  'Qwen2 in Q4_K, output tied': { ...qwen2, ...wide, type: 'Q4_K', tied: true },
}

describe('an imported file holds the weights that llama.cpp reads from it', await needsLlamaCpp(), () => {
  let folder: string
  beforeAll(async () => {
    folder = await mkdtemp(join(tmpdir(), 'apus-sources-'))
  })
  afterAll(() => rm(folder, { recursive: true, force: true }))

  for (const [index, [name, model]] of Object.entries(MODELS).entries())
    test(name, async () => {
      const gguf = join(folder, `${index}.gguf`)
      await writeFile(gguf, randomModel({ ...model, seed: index + 1 }))
      const file = await BundleFile.open(
        join(folder, await importGguf(gguf, folder, { planes: DEFAULT_PLANES })),
      )
      const bundle = new MemoryBundle(
        (await file.leaves(0, file.leafCount)).map(leaf => Uint8Array.from(leaf)),
      )
      await file.close()
      const tokens = await generate(bundle)

      const sequence = new Sequence(new Model(bundle))
      const ours = tokens.map(token => sequence.logits(sequence.feed(token, true)!))
      const theirs = await llamaLogits(gguf)
      const expected = await theirs.run(tokens)
      await theirs.dispose()
      const cosines = ours.map((logits, i) => cosineOf(logits, expected[i]!))
      expect(Math.min(...cosines)).toBeGreaterThan(LEAST_COSINE)
      expect(cosines.reduce((sum, c) => sum + c, 0) / cosines.length).toBeGreaterThan(LEAST_MEAN_COSINE)
      const agreed = ours.filter((logits, i) => best(logits) === best(expected[i]!)).length
      expect(agreed / ours.length).toBeGreaterThan(LEAST_AGREEMENT)
      // What the engine chose is what these logits say.
      expect(tokens.slice(PROMPT)).toEqual(ours.slice(PROMPT - 1, -1).map(best))
    })
})

/** A random prompt and what the CPU engine answers greedily. */
async function generate(bundle: MemoryBundle): Promise<number[]> {
  const machine = await CpuMachine.load(bundle.leaves.entries(), { threads: 1 })
  try {
    const random = seededRandom(machine.manifest.vocab)
    const prompt = Array.from({ length: PROMPT }, () => random.below(machine.manifest.vocab))
    const request = {
      prompt,
      sampler: samplerSettings.parse({}),
      noise: [0, 0] as const,
      maxTokens: ANSWER,
      stop: [],
    }
    return [...prompt, ...(await machine.run(request, new AbortController().signal)).tokens]
  } finally {
    await machine.close()
  }
}
