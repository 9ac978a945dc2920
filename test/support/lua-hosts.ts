import { spawn } from 'node:child_process'
import { readFile } from 'node:fs/promises'
import { loadLuaModules } from './lua-modules.ts'

const INTERPRETER = 'lua5.3'
const REQUIRE = /require\('apus\.([a-z0-9-]+)'\)/g

export interface Lua {
  /** Runs Lua and returns the text that it returns; throws what it threw. */
  run(code: string): Promise<string>
}

/** Names of these modules of contracts-lua and of all that they require. */
async function withRequired(names: readonly string[]): Promise<readonly string[]> {
  const sources = await sourcesOf(names)
  return [...sources.keys()]
}

/** The modules and all that they require, in the real aos. */
export async function loadInAos(names: readonly string[]): Promise<Lua> {
  return loadLuaModules(await withRequired(names))
}

/** The same in a plain interpreter, which is faster; undefined where none is installed. */
export async function loadInPlainLua(names: readonly string[]): Promise<Lua | undefined> {
  const preloads = [...(await sourcesOf(names))].map(
    ([name, source]) => `package.preload['apus.${name}'] = function()\n${source}\nend\n`,
  )
  const run = (code: string) => interpret(`${preloads.join('')}io.write((function()\n${code}\nend)() or '')`)
  try {
    await run('return ""')
  } catch {
    return undefined
  }
  return { run }
}

async function sourcesOf(names: readonly string[]): Promise<Map<string, string>> {
  const sources = new Map<string, string>()
  const waiting = [...names]
  for (let name = waiting.pop(); name !== undefined; name = waiting.pop()) {
    if (sources.has(name)) continue
    const source = await readFile(new URL(`../../contracts-lua/src/${name}.lua`, import.meta.url), 'utf8')
    sources.set(name, source)
    for (const [, required] of source.matchAll(REQUIRE)) if (required) waiting.push(required)
  }
  return sources
}

function interpret(program: string): Promise<string> {
  return new Promise((resolve, reject) => {
    const child = spawn(INTERPRETER, ['-'], { stdio: 'pipe' })
    const out: Buffer[] = []
    const errors: Buffer[] = []
    child.stdout.on('data', (data: Buffer) => out.push(data))
    child.stderr.on('data', (data: Buffer) => errors.push(data))
    child.on('error', reject)
    child.stdin.on('error', () => {})
    child.on('close', code =>
      code === 0
        ? resolve(Buffer.concat(out).toString())
        : reject(new Error(Buffer.concat(errors).toString() || `${INTERPRETER} ended with ${code}`)),
    )
    child.stdin.end(program)
  })
}
