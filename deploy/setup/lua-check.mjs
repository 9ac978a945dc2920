import { spawnSync } from 'node:child_process'
import { leftOut } from './left-out.mjs'

const found = spawnSync('luacheck', ['--no-color', '-q', 'contracts-lua'], { encoding: 'utf8' })
if (found.error) {
  try {
    const reason = leftOut('luacheck is not installed (Debian: lua-check, Homebrew: luacheck)')
    console.log(`The Lua of contracts-lua was not checked, because ${reason}.`)
  } catch (error) {
    console.error(error.message)
    process.exitCode = 1
  }
} else {
  process.stdout.write(found.stdout + found.stderr)
  process.exitCode = found.status ?? 1
}
