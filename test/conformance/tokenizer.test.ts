import { mkdtemp, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { createTokenizer, ggufVocabulary, type Tokenizer } from '@apus/shared/tokenizer'
import { getLlama, type Llama, type LlamaModel } from 'node-llama-cpp'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { withGguf } from '../../node/src/models/gguf/read-gguf.ts'
import { EMBEDDED_Q8 } from '../support/embedded-model.ts'
import { randomModel } from '../support/gguf/random-model.ts'
import { randomText, TRAINING_TEXT } from '../support/gguf/text-corpus.ts'
import { BPE_CONTROLS, BPE_USER_DEFINED, bpeVocabulary } from '../support/gguf/vocabularies.ts'
import { needsLlamaCpp } from '../support/parts.ts'
import { seededRandom } from '../support/random.ts'

const STRINGS = 1_200

let llama: Llama
let folder: string

beforeAll(async () => {
  llama = await getLlama({ build: 'never', gpu: false, maxThreads: 0, progressLogs: false })
  folder = await mkdtemp(join(tmpdir(), 'apus-tokenizer-'))
})

afterAll(async () => {
  await llama.dispose()
  await rm(folder, { recursive: true })
})

const ours = (path: string): Promise<Tokenizer> =>
  withGguf(path, async gguf => createTokenizer(ggufVocabulary(gguf.metadata)))

/** How many of the strings were compared, all of them equal to llama.cpp's tokens and their bytes to the text. */
function compare(model: LlamaModel, tokenizer: Tokenizer, seed: number, specials: readonly string[]): number {
  const random = seededRandom(seed)
  const texts = new Set<string>(['', ' ', TRAINING_TEXT])
  while (texts.size < STRINGS) texts.add(randomText(random, 1 + random.below(12), specials))
  for (const text of texts)
    for (const special of [false, true])
      expect(tokenizer.encode(text, special), JSON.stringify({ text, special })).toEqual([
        ...model.tokenize(text, special),
      ])
  return texts.size
}

describe('the tokenizer gives the tokens of llama.cpp', await needsLlamaCpp(), () => {
  it('for the SentencePiece vocabulary of the embedded model', async () => {
    const model = await llama.loadModel({ modelPath: EMBEDDED_Q8, gpuLayers: 0 })
    expect(compare(model, await ours(EMBEDDED_Q8), 1, ['<s>', '</s>', '<unk>', '<0x41>'])).toBe(STRINGS)
    await model.dispose()
  })

  for (const [i, pre] of ['llama-bpe', 'qwen2', 'gpt-2', 'smollm', 'default'].entries())
    it(`for byte-level BPE with the pre-tokenizer ${pre}`, async () => {
      const path = join(folder, `${pre}.gguf`)
      await writeFile(path, randomModel({ seed: i, vocabulary: bpeVocabulary(pre) }))
      const model = await llama.loadModel({ modelPath: path, gpuLayers: 0 })
      const tokenizer = await ours(path)
      expect(compare(model, tokenizer, 10 + i, [...BPE_CONTROLS, ...BPE_USER_DEFINED])).toBe(STRINGS)
      await model.dispose()
    })
})
