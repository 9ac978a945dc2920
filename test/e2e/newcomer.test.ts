import { execFile } from 'node:child_process'
import { existsSync } from 'node:fs'
import { cp, mkdir, mkdtemp, readdir, readFile, readlink, rm, symlink, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll, expect, it } from 'vitest'
import type { CliResult } from '../support/miner-process.ts'

const ROOT = join(import.meta.dirname, '../..')
const SECTION = '## Your first change'
/** Two runs of one test file and one of `check`, on a machine that runs other tests as well (ms). */
const WALK_TIMEOUT_MS = 900_000

let folder: string
let clone: string

/** What the npm, the Vitest and the git hook that run this test say to their children. */
const OF_OUR_RUNNERS = /^(npm_|VITEST|GIT_|NODE_ENV$|TEST$|FORCE_COLOR$|INIT_CWD$)/i

/**
 * The environment of somebody who sits down at a terminal. Without CI, since a newcomer need not have luacheck: whether
 * one may be missing where tests run is for their own `check` to say.
 */
const terminal = () => ({
  ...Object.fromEntries(
    Object.entries(process.env).filter(([name]) => !OF_OUR_RUNNERS.test(name) && name !== 'CI'),
  ),
  GIT_CONFIG_GLOBAL: join(folder, 'gitconfig'),
})

const run = (program: string, args: readonly string[], cwd: string): Promise<CliResult> =>
  new Promise(resolve => {
    const options = { cwd, env: terminal(), maxBuffer: 1 << 26 }
    execFile(program, args, options, (error, stdout, stderr) =>
      resolve({ code: error === null ? 0 : Number(error.code ?? 1), stdout, stderr }),
    )
  })

async function git(cwd: string, ...args: readonly string[]): Promise<string> {
  const { code, stdout, stderr } = await run('git', args, cwd)
  if (code !== 0) throw new Error(`git ${args[0]} ended with ${code}: ${stderr}`)
  return stdout
}

/** The clone holds what is committed here; what is not yet comes on top, staged, so that `git restore` leads back to it. */
async function cloneWorkingTree(): Promise<void> {
  await git(ROOT, 'clone', '--quiet', '--no-tags', ROOT, clone)
  const changed = await git(ROOT, 'diff', '-z', '--name-only', '--no-renames', 'HEAD')
  const added = await git(ROOT, 'ls-files', '-z', '--others', '--exclude-standard')
  for (const file of `${changed}${added}`.split('\0').filter(name => name !== '')) {
    await rm(join(clone, file), { force: true })
    await cp(join(ROOT, file), join(clone, file), { verbatimSymlinks: true }).catch(gone)
  }
  await git(clone, 'add', '--all')
}

function gone(error: NodeJS.ErrnoException): void {
  if (error.code !== 'ENOENT') throw error
}

/** Packages by links to those here; the rooms of the house, which npm links too, must be the clone's own. */
async function linkPackages(): Promise<void> {
  const [from, to] = [join(ROOT, 'node_modules'), join(clone, 'node_modules')]
  await mkdir(join(to, '@apus'), { recursive: true })
  for (const name of await readdir(from))
    if (name !== '@apus' && !/^\.(vite|cache)/.test(name)) await symlink(join(from, name), join(to, name))
  for (const room of await readdir(join(from, '@apus')))
    await symlink(await readlink(join(from, '@apus', room)), join(to, '@apus', room))
  await mkdir(join(clone, '.cache'))
  for (const part of ['aos', 'gpu'].filter(name => existsSync(join(ROOT, '.cache', name))))
    await symlink(join(ROOT, '.cache', part), join(clone, '.cache', part))
}

beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'apus-newcomer-'))
  clone = join(folder, 'apus')
  // Git refuses a repository of another user, such as one that is mounted into a container.
  await writeFile(join(folder, 'gitconfig'), '[safe]\n\tdirectory = *\n')
  await cloneWorkingTree()
  await linkPackages()
})

afterAll(() => rm(folder, { recursive: true, force: true }))

/** The command lines of the section, as they stand there. */
async function commands(): Promise<string[]> {
  const readme = await readFile(join(clone, 'README.md'), 'utf8')
  const [, rest = ''] = readme.split(`\n${SECTION}\n`)
  const [section = ''] = rest.split('\n## ')
  return [...section.matchAll(/^```sh\n(.*?)^```$/gms)].flatMap(([, lines = '']) =>
    lines.trimEnd().split('\n'),
  )
}

it('leads from the README alone to a changed contract and a green check', {
  timeout: WALK_TIMEOUT_MS,
}, async () => {
  const before = await git(clone, 'status', '--porcelain')
  const failures: number[] = []
  for (const line of await commands()) {
    const { code, stdout, stderr } = await run('sh', ['-c', line], clone)
    const printed = `${stdout}\n${stderr}`
    const [command = '', promise = ''] = line.split('# red: ')
    expect(code === 0, `${command}\n${printed}`).toBe(promise === '')
    for (const [units] of promise.matchAll(/\d{9,}/g)) expect(printed).toContain(units)
    const [, failed] = /^\d+ passed, (\d+) failed$/m.exec(stdout) ?? []
    if (failed !== undefined) failures.push(Number(failed))
  }
  // The red run, the green one, and that of the floors, which `check` ends with.
  expect(failures).toEqual([1, 0, 0])
  expect(await git(clone, 'status', '--porcelain')).toBe(before)
})
