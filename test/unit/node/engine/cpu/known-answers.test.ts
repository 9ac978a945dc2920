import type { MachineEngine, RunResult } from '@apus/shared/machine'
import { expect, test } from 'vitest'
import { CpuMachine } from '../../../../../node/src/engine/cpu/cpu-machine.ts'
import { givesKnownAnswers } from '../../../../../node/src/engine/machine/known-answers.ts'

/** The CPU machine with its results changed. */
const changed = (change: (result: RunResult) => RunResult) =>
  givesKnownAnswers(async (leaves): Promise<MachineEngine> => {
    const machine = await CpuMachine.load(leaves, { threads: 1 })
    return {
      manifest: machine.manifest,
      run: async (request, signal) => change(await machine.run(request, signal)),
      close: () => machine.close(),
    }
  })

const flip = (bytes: Uint8Array | undefined): Uint8Array =>
  Uint8Array.from(bytes ?? [], (b, i) => (i === 9 ? b ^ 1 : b))

test('right known answers pass; an answer with one changed token, checkpoint or page does not', async () => {
  expect(await changed(result => result)).toBe(true)
  expect(await changed(r => ({ ...r, tokens: r.tokens.map((t, i) => (i === 3 ? t ^ 1 : t)) }))).toBe(false)
  expect(await changed(r => ({ ...r, checkpoints: r.checkpoints.map(flip) }))).toBe(false)
  expect(
    await changed(r => ({ ...r, pageLeaves: [...r.pageLeaves.slice(0, -1), flip(r.pageLeaves.at(-1))] })),
  ).toBe(false)
})
