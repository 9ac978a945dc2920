import { spawnSync } from 'node:child_process'

const found = spawnSync('luacheck', ['--no-color', '-q', 'contracts-lua'], { encoding: 'utf8' })
if (found.error) {
  console.log('luacheck is not installed (Debian: lua-check): the Lua of contracts-lua was not checked.')
} else {
  process.stdout.write(found.stdout + found.stderr)
  process.exitCode = found.status ?? 1
}
