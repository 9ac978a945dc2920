import { readFile } from 'node:fs/promises'
import { loadAos } from './aos.ts'
import { addressOf } from './contracts.ts'

/**
 * An aos process in which the named modules of contracts-lua, and what they need, can be required; `run` returns what the
 * Lua returns.
 */
export async function loadLuaModules(
  names: readonly string[],
  config = '{}',
): Promise<{ run(code: string): Promise<string> }> {
  const aos = await loadAos()
  const process = await aos.spawn({ id: addressOf('lua'), owner: addressOf('owner') })
  const sources = new Map<string, string>()
  await Promise.all(names.map(name => collect(name, sources)))
  const preloads = [...sources].map(
    ([name, source]) => `package.preload['apus.${name}'] = function()\n${source}\nend\n`,
  )
  await process.eval(
    `${preloads.join('')}package.preload['apus.config'] = function() return ${config} end\nreturn ''`,
  )
  return { run: code => process.eval(code) }
}

/** A module and what it requires. */
async function collect(name: string, sources: Map<string, string>): Promise<void> {
  if (name === 'config' || sources.has(name)) return
  sources.set(name, '')
  const source = await readFile(new URL(`../../contracts-lua/src/${name}.lua`, import.meta.url), 'utf8')
  sources.set(name, source)
  const needed = [...source.matchAll(/require\('apus\.([a-z0-9-]+)'\)/g)].map(match => match[1] ?? '')
  await Promise.all(needed.map(next => collect(next, sources)))
}

/** The text as a Lua string literal. */
export const luaText = (text: string | Uint8Array): string =>
  `"${[...Buffer.from(text)].map(byte => `\\${String(byte).padStart(3, '0')}`).join('')}"`
