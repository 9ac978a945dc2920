import { createHash } from 'node:crypto'
import { readFile } from 'node:fs/promises'

/** What a process is deployed with; it becomes the Lua module `apus.config`. */
export type LuaValue = string | number | boolean | readonly LuaValue[] | { readonly [key: string]: LuaValue }

/** A text that is no address, so that nobody can sign as the owner; nil would give the process away. */
export const UNSIGNABLE_OWNER = 'nobody: this process has no owner'

const ROOT = new URL('../', import.meta.url)
const REQUIRE = /require\('apus\.([a-z0-9.-]+)'\)/g
const CONFIG = 'config'

/**
 * One Lua source for one Eval: every module that the entry point in `processes/` needs, the configuration (to which
 * `codeHash`, the SHA-256 of all Lua in it, is added), the entry point, and the end of ownership.
 */
export async function bundle(
  entry: 'token' | 'network',
  config: { readonly [key: string]: LuaValue },
): Promise<{ readonly source: string; readonly codeHash: string }> {
  const main = await readFile(new URL(`processes/${entry}.lua`, ROOT), 'utf8')
  const modules = await collect(main)
  const code = [...modules].map(([name, source]) => preload(name, source)).join('')
  const codeHash = createHash('sha256').update(code).update(main).digest('base64url')
  const settings = `return ${luaLiteral({ ...config, codeHash })}`
  const end = `Owner = ${luaString(UNSIGNABLE_OWNER)}\n`
  return { source: `${preload(CONFIG, settings)}${code}do\n${main}end\n${end}`, codeHash }
}

/** The sources of the modules (`folder.file`) that this Lua requires and of all that those require, by name; what is needed comes first. */
export async function collect(
  source: string,
  modules: Map<string, string> = new Map(),
): Promise<ReadonlyMap<string, string>> {
  for (const [, name] of source.matchAll(REQUIRE)) {
    if (name === undefined || name === CONFIG || modules.has(name)) continue
    const text = await readFile(new URL(`src/${name.replaceAll('.', '/')}.lua`, ROOT), 'utf8')
    modules.set(name, '')
    await collect(text, modules)
    modules.delete(name)
    modules.set(name, text)
  }
  return modules
}

/** Lua that makes `apus.<name>` a module of this source. */
export const preload = (name: string, source: string): string =>
  `package.preload['apus.${name}'] = function()\n${source}\nend\n`

const luaString = (text: string): string =>
  `"${[...Buffer.from(text, 'utf8')]
    .map(byte =>
      byte >= 32 && byte < 127 && byte !== 34 && byte !== 92
        ? String.fromCharCode(byte)
        : `\\${String(byte).padStart(3, '0')}`,
    )
    .join('')}"`

function luaLiteral(value: LuaValue): string {
  if (typeof value === 'string') return luaString(value)
  if (typeof value === 'number') {
    if (!Number.isSafeInteger(value)) throw new RangeError('a configuration holds whole numbers only')
    return String(value)
  }
  if (typeof value === 'boolean') return String(value)
  if (Array.isArray(value)) return `{${value.map(luaLiteral).join(',')}}`
  return `{${Object.entries(value)
    .map(([key, item]) => `[${luaString(key)}]=${luaLiteral(item)}`)
    .join(',')}}`
}
