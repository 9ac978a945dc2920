import { readFile } from 'node:fs/promises'
import { loadAos } from './aos.ts'
import { addressOf } from './contracts.ts'

/** An aos process in which the named modules of contracts-lua can be required; `run` returns what the Lua returns. */
export async function loadLuaModules(
  names: readonly string[],
  config = '{}',
): Promise<{ run(code: string): Promise<string> }> {
  const aos = await loadAos()
  const process = await aos.spawn({ id: addressOf('lua'), owner: addressOf('owner') })
  const sources = await Promise.all(
    names.map(async name => {
      const path = new URL(`../../contracts-lua/src/${name}.lua`, import.meta.url)
      return `package.preload['apus.${name}'] = function()\n${await readFile(path, 'utf8')}\nend\n`
    }),
  )
  await process.eval(
    `${sources.join('')}package.preload['apus.config'] = function() return ${config} end\nreturn ''`,
  )
  return { run: code => process.eval(code) }
}

/** The text as a Lua string literal. */
export const luaText = (text: string | Uint8Array): string =>
  `"${[...Buffer.from(text)].map(byte => `\\${String(byte).padStart(3, '0')}`).join('')}"`
