import { spawn } from 'node:child_process'
import { collect, preload } from '../../contracts-lua/tools/bundle.ts'
import { loadAos } from './aos.ts'
import { addressOf } from './contracts.ts'

const INTERPRETER = 'lua5.3'

export interface Lua {
  /** Runs Lua and returns the text that it returns; throws what it threw. */
  run(code: string): Promise<string>
}

/** The named modules of contracts-lua (`folder.file`), and what they need, in the real aos; `config` is the Lua of `apus.config`. */
export async function loadInAos(names: readonly string[], config = '{}'): Promise<Lua> {
  const aos = await loadAos()
  const process = await aos.spawn({ id: addressOf('lua'), owner: addressOf('owner') })
  await process.eval(`${await preloads(names)}${preload('config', `return ${config}`)}return ''`)
  return { run: code => process.eval(code) }
}

/** The same in a plain interpreter, which is faster; undefined where none is installed. */
export async function loadInPlainLua(names: readonly string[]): Promise<Lua | undefined> {
  const modules = await preloads(names)
  const run = (code: string) => interpret(`${modules}io.write((function()\n${code}\nend)() or '')`)
  try {
    await run('return ""')
  } catch {
    return undefined
  }
  return { run }
}

async function preloads(names: readonly string[]): Promise<string> {
  const modules = await collect(names.map(name => `require('apus.${name}')`).join('\n'))
  return [...modules].map(([name, source]) => preload(name, source)).join('')
}

/** The text as a Lua string literal. */
export const luaText = (text: string | Uint8Array): string =>
  `"${[...Buffer.from(text)].map(byte => `\\${String(byte).padStart(3, '0')}`).join('')}"`

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
