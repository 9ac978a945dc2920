import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { toBase64Url } from '@apus/shared/hashing'
import { answerRoot } from '@apus/shared/machine'
import { Q16_ONE } from '@apus/shared/protocol'
import { OracleReplay } from '@apus/shared/replay'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { createCpuEngine } from '../../node/src/engine/cpu/cpu-engine.ts'
import type { ChosenToken, Engine, GenerationRequest, LoadedModel } from '../../node/src/engine/engine.ts'
import { runRequest } from '../../node/src/engine/machine/machine-engine.ts'
import { DEFAULT_PLANES } from '../../node/src/models/import/bundle-manifest.ts'
import { importGguf } from '../../node/src/models/import/import-gguf.ts'
import { BundleFile } from '../../node/src/models/store/bundle-file.ts'
import { stageCount } from '../../shared/src/machine/plan.ts'
import { EMBEDDED_Q8 } from '../support/embedded-model.ts'

const RIVER = 'Q: What is a river?\nA:'
const never = new AbortController().signal

const GREEDY: GenerationRequest['sampler'] = {
  temperature: 0,
  topK: 0,
  topP: Q16_ONE,
  repeatPenalty: Q16_ONE,
  frequencyPenalty: 0,
  presencePenalty: 0,
  penaltyWindow: 64,
  seed: 0,
}

describe('the machine engine with the embedded model', () => {
  let folder: string
  let path: string
  let engine: Engine
  let model: LoadedModel

  beforeAll(async () => {
    folder = await mkdtemp(join(tmpdir(), 'apus-engine-'))
    path = join(folder, await importGguf(EMBEDDED_Q8, folder, { planes: DEFAULT_PLANES }))
    engine = createCpuEngine({ threads: 1 })
    model = await engine.load(path)
  })

  afterAll(async () => {
    await model.close()
    await engine.close()
    await rm(folder, { recursive: true, force: true })
  })

  const request = (more: Partial<GenerationRequest> = {}): GenerationRequest => ({
    promptTokens: model.tokenize(RIVER, 'raw'),
    sampler: GREEDY,
    maxTokens: 60,
    stop: [],
    jobKey: 'job',
    ...more,
  })

  test('is the verifiable class and knows its model', () => {
    expect([engine.class, engine.verifiable]).toEqual(['apus-machine-1', true])
    expect(path.endsWith(model.info.id)).toBe(true)
    expect(model.info).toMatchObject({ name: 'Apus Dictionary 2.8M', context: 256, vocabulary: 2048 })
  })

  test('answers a question, and tells every token as it comes', async () => {
    const told: ChosenToken[] = []
    const answer = await model.generate(request(), never, token => told.push(token))
    expect(answer.text).toBe('a large natural stream of water (larger than a creek)')
    expect(answer.finish).toBe('stop')
    expect(told.map(({ token }) => token)).toEqual(answer.tokens)
    expect(told.map(({ index }) => index)).toEqual(answer.tokens.map((_, i) => i))
    expect(told.map(({ piece }) => piece)).toEqual(answer.pieces)
    expect(answer.answerRoot).toBe(toBase64Url(answerRoot(answer.pieces)))
  })

  test('the same request gives the same roots, alone or beside others, on any number of threads', async () => {
    const sampled = { ...GREEDY, temperature: 4 * Q16_ONE, topK: 500, topP: 65_000, seed: 7 }
    const requests = [
      request(),
      request({ sampler: sampled }),
      request({ sampler: sampled, jobKey: 'other' }),
    ]
    const together = await Promise.all(requests.map(r => model.generate(r, never)))
    const other = await createCpuEngine({ threads: 2, columns: 3 }).load(path)
    try {
      for (const [i, one] of requests.entries()) expect(await other.generate(one, never)).toEqual(together[i])
    } finally {
      await other.close()
    }
    expect(new Set(together.map(({ checkpointRoot }) => checkpointRoot)).size).toBe(3)
  })

  test('stop strings cut the text, the most tokens end it', async () => {
    const cut = await model.generate(request({ stop: ['of water', 'never'] }), never)
    expect([cut.text, cut.finish]).toEqual(['a large natural stream ', 'stop'])
    const short = await model.generate(request({ maxTokens: 3 }), never)
    expect([short.tokens.length, short.finish]).toEqual([3, 'length'])
  })

  test('answers for any position of a run as the oracle does', async () => {
    const answer = await model.replay?.(request(), never)
    const oracle = await OracleReplay.run(await BundleFile.open(path), runRequest(request()), never)
    if (!answer) throw new Error('the machine replays its runs')
    expect([answer.tokens, answer.checkpoints]).toEqual([oracle.tokens, oracle.checkpoints])
    const last = answer.promptTokens.length + answer.tokens.length - 2
    const operations = (run: typeof answer) =>
      Array.from({ length: stageCount(run.terms, last) }, (_, stage) => run.operations(last, stage))
    expect(operations(answer)).toEqual(operations(oracle))
    expect(answer.page(7)).toEqual(oracle.page(7))
    expect(answer.bundlePath(9)).toEqual(oracle.bundlePath(9))
  })

  test('refuses bad requests and broken bundles by a code', async () => {
    const long = new Array<number>(257).fill(5)
    const refusals: [string, Partial<GenerationRequest>][] = [
      ['prompt-too-long', { promptTokens: long }],
      ['prompt-invalid', { promptTokens: [] }],
      ['token-unknown', { promptTokens: [2048] }],
    ]
    for (const [code, more] of refusals) {
      await expect(model.generate(request(more), never)).rejects.toMatchObject({ code })
    }
    await expect(model.generate(request(), AbortSignal.abort())).rejects.toMatchObject({ code: 'aborted' })
    expect(() => model.tokenize('broken \ud800', 'text')).toThrow(
      expect.objectContaining({ code: 'prompt-invalid' }),
    )
  })

  test('a bundle with one changed byte and a missing bundle are refused', async () => {
    const bytes = await readFile(join(path, 'bundle'))
    const other = await mkdtemp(join(folder, 'changed-'))
    bytes[bytes.length >> 1] = (bytes[bytes.length >> 1] as number) ^ 1
    await writeFile(join(other, 'bundle'), bytes)
    await writeFile(join(other, 'leaves'), await readFile(join(path, 'leaves')))
    await expect(engine.load(other)).rejects.toMatchObject({ code: 'bundle-corrupt' })
    await expect(engine.load(join(folder, 'none'))).rejects.toMatchObject({ code: 'bundle-missing' })
  })
})
