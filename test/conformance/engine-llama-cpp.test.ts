import { mkdtemp, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { merkleRoot, toBase64Url } from '@apus/shared/hashing'
import { errorCode } from '@apus/shared/kit'
import { answerRoot } from '@apus/shared/machine'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import type { Engine, GenerationRequest, LoadedModel } from '../../node/src/engine/engine.ts'
import { createLlamaCppEngine } from '../../node/src/engine/llama-cpp/llama-cpp-engine.ts'
import { samplerSettings } from '../../shared/src/protocol/sampler.ts'
import { EMBEDDED_Q8 } from '../support/embedded-model.ts'
import { randomModel } from '../support/gguf/random-model.ts'
import { bpeVocabulary } from '../support/gguf/vocabularies.ts'
import { needsLlamaCpp } from '../support/parts.ts'

const RIVER = 'a large natural stream of water (larger than a creek)'

let engine: Engine
let model: LoadedModel
let folder: string

beforeAll(async () => {
  engine = await createLlamaCppEngine()
  model = await engine.load(EMBEDDED_Q8)
  folder = await mkdtemp(join(tmpdir(), 'apus-engine-'))
})

afterAll(async () => {
  await model.close()
  await engine.close()
  await rm(folder, { recursive: true })
})

const request = (prompt: string, change: Partial<GenerationRequest> = {}): GenerationRequest => ({
  promptTokens: model.tokenize(prompt, 'text'),
  sampler: samplerSettings.parse({}),
  maxTokens: 64,
  stop: [],
  jobKey: 'job',
  ...change,
})
const never = new AbortController().signal
const codeOf = (run: Promise<unknown>) => run.then(() => 'no error', errorCode)

describe('the llama.cpp engine', await needsLlamaCpp(), () => {
  it('names build and instruction set, and claims no proof', () => {
    expect(engine.class).toMatch(/^llama\.cpp\/v?[0-9a-z.]+\/[a-z0-9_]+-[0-9a-f]{12}$/)
    expect(engine.verifiable).toBe(false)
    expect(model.info).toMatchObject({ name: 'Apus Dictionary 2.8M', context: 256, vocabulary: 2048 })
    expect(model.info.id).toMatch(/^[\w-]{43}$/)
  })

  it('answers with the model, commits to the pieces and reports each token', async () => {
    const seen: number[] = []
    const answer = await model.generate(request('What is a river?'), never, t => {
      expect(t.index).toBe(seen.length)
      seen.push(t.token)
    })
    expect(answer.text).toBe(RIVER)
    expect(answer.finish).toBe('stop')
    expect(seen).toEqual(answer.tokens)
    expect(answer.pieces.at(-1)).toHaveLength(0)
    expect(answer.answerRoot).toBe(toBase64Url(answerRoot(answer.pieces)))
    expect(answer.kvRoot).toBe(toBase64Url(merkleRoot([])))
  })

  it('frames text, chat and raw prompts', () => {
    const framed = model.tokenize('Q: What is a river?\nA:', 'raw')
    expect(framed[0]).toBe(1)
    expect(model.tokenize('What is a river?', 'text')).toEqual(framed)
    expect(model.tokenize('[{"role":"user","content":"What is a river?"}]', 'chat')).toEqual(framed)
    for (const [prompt, format] of [
      ['not json', 'chat'],
      ['[]', 'chat'],
      ['[{"role":"user"}]', 'chat'],
      ['\ud800', 'raw'],
    ] as const)
      expect(() => model.tokenize(prompt, format)).toThrow(
        expect.objectContaining({ code: 'prompt-invalid' }),
      )
  })

  it('gives equal bytes to equal requests, also when they are queued together', async () => {
    const sampler = samplerSettings.parse({
      temperature: 65_536,
      topK: 40,
      topP: 60_000,
      repeatPenalty: 72_000,
    })
    const [a, b, other] = await Promise.all([
      model.generate(request('What is a dog?', { sampler }), never),
      model.generate(request('What is a dog?', { sampler }), never),
      model.generate(request('What is democracy?'), never),
    ])
    expect(a).toEqual(b)
    expect(other.text).toMatch(/^the political orientation/)
  })

  it('draws differently for another job or seed', async () => {
    const hot = (seed: number) => samplerSettings.parse({ temperature: 4 * 65_536, seed })
    const runs = await Promise.all([
      model.generate(request('Spell x.', { sampler: hot(1), jobKey: 'a', maxTokens: 24 }), never),
      model.generate(request('Spell x.', { sampler: hot(1), jobKey: 'b', maxTokens: 24 }), never),
      model.generate(request('Spell x.', { sampler: hot(2), jobKey: 'a', maxTokens: 24 }), never),
    ])
    expect(new Set(runs.map(r => r.answerRoot)).size).toBe(3)
  })

  it('stops at a stop string, the maximum and the end of the context', async () => {
    const cut = await model.generate(request('What is a river?', { stop: ['stream'] }), never)
    expect(cut).toMatchObject({ text: 'a large natural ', finish: 'stop' })
    const short = await model.generate(request('What is a river?', { maxTokens: 3 }), never)
    expect(short.tokens).toHaveLength(3)
    expect(short.finish).toBe('length')
    const full = Array.from({ length: 256 }, () => 277)
    const last = await model.generate(request('', { promptTokens: full }), never)
    expect(last.tokens).toHaveLength(1)
  })

  it('refuses bad requests with a code and serves the next one', async () => {
    const over = Array.from({ length: 257 }, () => 277)
    expect(await codeOf(model.generate(request('', { promptTokens: over }), never))).toBe('prompt-too-long')
    expect(await codeOf(model.generate(request('', { promptTokens: [] }), never))).toBe('prompt-invalid')
    expect(await codeOf(model.generate(request('', { promptTokens: [2048] }), never))).toBe('token-unknown')
    expect(await codeOf(model.generate(request('x'), AbortSignal.abort()))).toBe('aborted')
    const stop = new AbortController()
    const run = model.generate(request('What is a river?'), stop.signal, t => t.index === 2 && stop.abort())
    expect(await codeOf(run)).toBe('aborted')
    expect((await model.generate(request('What is a river?'), never)).text).toBe(RIVER)
  })

  it('refuses files that are missing, broken or of an unknown kind', async () => {
    expect(await codeOf(engine.load(join(folder, 'none.gguf')))).toBe('gguf-missing')
    const bytes = randomModel({ seed: 1, vocabulary: bpeVocabulary('qwen2') })
    const cut = join(folder, 'cut.gguf')
    await writeFile(cut, bytes.subarray(0, bytes.length - 1000))
    expect(await codeOf(engine.load(cut))).toBe('gguf-truncated')
    const odd = join(folder, 'odd.gguf')
    const extra = { 'general.architecture': ['text', 'unheard-of'] } as const
    await writeFile(odd, randomModel({ seed: 1, vocabulary: bpeVocabulary('qwen2'), extra }))
    expect(await codeOf(engine.load(odd))).toBe('model-unsupported')
  })

  it('runs models with byte-level BPE and several batches of prompt', async () => {
    const path = join(folder, 'bpe.gguf')
    await writeFile(path, randomModel({ seed: 2, vocabulary: bpeVocabulary('qwen2'), context: 2048 }))
    const bpe = await engine.load(path)
    const promptTokens = bpe.tokenize('the river '.repeat(300), 'raw')
    expect(promptTokens.length).toBeGreaterThan(600)
    const run = () => bpe.generate(request('', { promptTokens, maxTokens: 8 }), never)
    const answer = await run()
    expect(answer.tokens.length).toBeGreaterThan(0)
    expect(await run()).toEqual(answer)
    await bpe.close()
  })
})
