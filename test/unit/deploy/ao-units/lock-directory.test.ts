import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, beforeEach, expect, test } from 'vitest'
import { lockDirectory } from '../../../../deploy/ao-units/store/lock-directory.ts'

const HOLDER = `const { lockDirectory } = await import(process.argv[1])
lockDirectory(process.argv[2])
console.log('held')
setInterval(() => {}, 1000)`

let dir: string
let holder: ChildProcess | undefined

beforeEach(() => {
  dir = mkdtempSync(join(tmpdir(), 'apus-lock-'))
})
afterEach(() => {
  holder?.kill('SIGKILL')
  rmSync(dir, { recursive: true })
})

test('a directory is held by a living program, and by none that died or only has its number', async () => {
  const script = new URL('../../../../deploy/ao-units/store/lock-directory.ts', import.meta.url).href
  const child = spawn(process.execPath, ['--input-type=module', '-e', HOLDER, script, dir])
  holder = child
  await once(child.stdout, 'data')
  expect(() => lockDirectory(dir)).toThrow(expect.objectContaining({ code: 'dir-in-use' }))

  const lock = join(dir, 'lock')
  expect(readFileSync(lock, 'utf8')).toMatch(new RegExp(`^${child.pid} .+`))
  writeFileSync(lock, `${child.pid} of another time`)
  lockDirectory(dir)()

  writeFileSync(lock, `${child.pid} of another time`)
  child.kill('SIGKILL')
  await once(child, 'exit')
  lockDirectory(dir)()
})
