import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { Command } from 'commander'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { benchCommand } from '../../../../node/src/commands/bench.ts'
import { DEFAULT_PLANES } from '../../../../node/src/models/import/bundle-manifest.ts'
import { importGguf } from '../../../../node/src/models/import/import-gguf.ts'
import { EMBEDDED_Q8 } from '../../../support/embedded-model.ts'

let home: string
let root: string
beforeAll(async () => {
  home = await mkdtemp(join(tmpdir(), 'apus-bench-'))
  root = await importGguf(EMBEDDED_Q8, join(home, 'models'), { planes: DEFAULT_PLANES })
})
afterAll(async () => {
  await rm(home, { recursive: true, force: true })
})

async function bench(...args: string[]): Promise<string[]> {
  const lines: string[] = []
  const program = new Command('apus-node').option('--home <folder>')
  program.addCommand(benchCommand({ env: {}, print: line => lines.push(line) }))
  await program.parseAsync(['--home', home, 'bench', ...args], { from: 'user' })
  return lines
}

test('measures a bundle of the store', async () => {
  const [line = '', ...more] = await bench('--seconds', '0.1', '--json')
  expect(more).toEqual([])
  const { decode, prefill, ...rest } = JSON.parse(line)
  expect(decode).toBeGreaterThan(0)
  expect(prefill).toBeGreaterThan(0)
  expect(rest).toMatchObject({ model: root, name: 'Apus Dictionary 2.8M', class: 'apus-machine-1' })
})

test('refuses a path that is no bundle and a text that is no duration', async () => {
  await expect(bench('A'.repeat(43))).rejects.toMatchObject({ code: 'bundle-missing' })
  await expect(bench('no-root')).rejects.toMatchObject({ code: 'model-unknown' })
  await expect(bench(EMBEDDED_Q8, '--engine', 'cpu')).rejects.toMatchObject({ code: 'model-not-imported' })
  await expect(bench(root, '--seconds', '-1')).rejects.toMatchObject({ code: 'option-invalid' })
})
