import { execFile } from 'node:child_process'
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { promisify } from 'node:util'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { buildClass } from '../../node/src/engine/llama-cpp/build-class.ts'
import { EMBEDDED_Q8 } from '../support/embedded-model.ts'
import { onMachine } from '../support/on-machine.ts'
import { MACHINES } from '../support/strange-machine.mjs'

const run = promisify(execFile)
const MAIN = join(import.meta.dirname, '../../node/src/main.ts')
const RELEASE = /^llama\.cpp\/([^/]+)\//

let folder: string
beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'apus-machine-'))
})
afterAll(async () => {
  await rm(folder, { recursive: true, force: true })
})

describe.runIf(process.arch === 'x64')('a processor', () => {
  /** What `doctor` says of a processor of which V8 uses less. */
  const finding = async (flag: string): Promise<unknown> => {
    const env = { ...process.env, APUS_HOME: folder }
    const { stdout } = await run(process.execPath, [flag, MAIN, 'doctor', '--json'], { env }).catch(
      error => error,
    )
    return JSON.parse(stdout).find(({ name }: { name: string }) => name === 'processor')
  }

  it.each(['--no-enable-avx', '--no-enable-sse4-2'])('gives the known answers under %s', async flag => {
    expect(await finding(flag)).toMatchObject({ state: 'good' })
  })

  it('without SSE4.1 is told to be too old', async () => {
    expect(await finding('--no-enable-sse4-1')).toMatchObject({
      state: 'fault',
      detail: expect.stringContaining('SSE4.1'),
      fix: expect.stringContaining('newer processor'),
    })
  })
})

it.each([
  ['hidden', 'baseline', 'tr_TR.UTF-8'],
  ['exaggerated', 'avx512', 'de_DE.UTF-8'],
  ['exaggerated', 'avx512', 'ar_EG.UTF-8'],
] as const)(
  'the programs work on the %s machine, whose llama.cpp is %s, in the locale %s',
  async (machine, unit, locale) => {
    const arguments_ = [MAIN, 'bench', EMBEDDED_Q8, '--seconds', '0.1', '--json']
    const { stdout } = await run(
      process.execPath,
      arguments_,
      onMachine(machine, { LC_ALL: locale, LANG: locale, APUS_HOME: folder }),
    )
    const { class: name, decode } = JSON.parse(stdout)
    expect(name).toBe(buildClass(RELEASE.exec(name)?.[1] ?? '', MACHINES[machine].systemInfo))
    expect(name).toContain(`/${unit}-`)
    expect(decode).toBeGreaterThan(0)
  },
)
