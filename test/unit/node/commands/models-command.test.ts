import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { errorCode } from '@apus/shared/kit'
import { Command } from 'commander'
import { afterAll, beforeAll, expect, it } from 'vitest'
import { modelsCommand } from '../../../../node/src/commands/models.ts'
import { EMBEDDED_Q8 } from '../../../support/embedded-model.ts'

let home: string
beforeAll(async () => {
  home = await mkdtemp(join(tmpdir(), 'apus-models-'))
})
afterAll(() => rm(home, { recursive: true }))

async function run(...args: string[]): Promise<string[]> {
  const lines: string[] = []
  const program = new Command().option('--home <folder>')
  program.addCommand(modelsCommand({ env: {}, print: line => lines.push(line) }))
  await program.parseAsync(['--home', home, 'models', ...args], { from: 'user' })
  return lines
}

it('imports, lists, verifies and removes a model', async () => {
  expect(await run('list')).toEqual([expect.stringContaining('no models yet')])
  const [root] = await run('import', EMBEDDED_Q8)
  expect(root).toMatch(/^[\w-]{43}$/)
  expect(await run('import', EMBEDDED_Q8, '--json')).toEqual([JSON.stringify({ root })])
  expect(await run('list')).toEqual([`${root}      3.1 MB  Apus Dictionary 2.8M`])
  expect(JSON.parse((await run('list', '--json'))[0]!)).toMatchObject([{ root, context: 256 }])
  expect(await run('verify')).toEqual([`${root}  intact`])
  expect(await run('verify', root!, '--json')).toEqual([JSON.stringify({ intact: [root] })])
  expect(await run('void', root!).catch(errorCode)).toBe('nothing-to-prove')
  expect(await run('remove', root!)).toEqual([`${root}  removed`])
  expect(await run('remove', root!).catch(errorCode)).toBe('bundle-missing')
  expect(await run('import', join(home, 'none.gguf')).catch(errorCode)).toBe('gguf-missing')
})
