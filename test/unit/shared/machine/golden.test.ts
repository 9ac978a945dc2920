import { readFileSync } from 'node:fs'
import { Oracle } from '@apus/shared/machine'
import { describe, expect, it } from 'vitest'
import type { Step } from '../../../../shared/src/machine/steps.ts'
import { chunkJson, chunkVectors } from '../../../support/machine/chunk-vectors.ts'
import {
  type ModelVector,
  modelVector,
  primitiveVectors,
  resultVector,
  vectorRequest,
} from '../../../support/machine/golden.ts'
import { AWKWARD_SHAPES, randomBundle } from '../../../support/machine/random-model.ts'

const read = (name: string): unknown =>
  JSON.parse(readFileSync(new URL(`../../../vectors/machine/${name}.json`, import.meta.url), 'utf8'))

describe('the golden vectors', () => {
  it('of the primitives are what the oracle gives', () => {
    expect(JSON.parse(JSON.stringify(primitiveVectors()))).toEqual(read('primitives'))
  })

  for (const [i, { name }] of AWKWARD_SHAPES.entries()) {
    it(`of the model "${name}" are what the oracle gives`, async () => {
      expect(JSON.parse(JSON.stringify(await modelVector(i)))).toEqual((read('models') as ModelVector[])[i])
    })
  }
})

describe('the golden chunks', () => {
  const chunks = read('chunks') as { step: Step; inputs: string[]; output: string }[]

  it('are what the oracle gives, of every kind of step', async () => {
    expect(JSON.parse(JSON.stringify((await chunkVectors()).map(chunkJson)))).toEqual(chunks)
    expect(new Set(chunks.map(chunk => chunk.step.kind)).size).toBe(23)
  })
})

describe('the oracle', () => {
  const { seed, runs } = (read('models') as ModelVector[])[0]!
  const oracle = () => new Oracle(randomBundle(AWKWARD_SHAPES[0]!, seed))
  const never = new AbortController().signal

  it('tells of tokens as they are chosen and starts afresh for every run', async () => {
    const engine = oracle()
    const heard: number[] = []
    const first = await engine.run(vectorRequest(runs[1]!), never, (token, n) => (heard[n] = token))
    expect(heard).toEqual(first.tokens)
    expect(resultVector(await engine.run(vectorRequest(runs[1]!), never))).toEqual(resultVector(first))
  })

  it('refuses prompts that it cannot run, and stops when told to', async () => {
    const engine = oracle()
    const ask = (prompt: number[], signal = never) =>
      engine.run({ ...vectorRequest(runs[0]!), prompt }, signal)
    await expect(ask([])).rejects.toMatchObject({ code: 'prompt-invalid' })
    await expect(ask(Array<number>(513).fill(0))).rejects.toMatchObject({ code: 'prompt-too-long' })
    await expect(ask([70])).rejects.toMatchObject({ code: 'token-unknown' })
    await expect(ask([1], AbortSignal.abort())).rejects.toMatchObject({ code: 'aborted' })
  })
})
