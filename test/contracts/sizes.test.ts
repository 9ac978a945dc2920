import { expect, it } from 'vitest'
import * as sizes from '../../shared/src/machine/sizes.ts'
import { loadInAos } from '../support/lua-modules.ts'

it('the sizes of the machine are the same in Lua and TypeScript', async () => {
  const lua = await loadInAos(['machine.sizes'])
  const text = await lua.run(`
    local sizes, out = require('apus.machine.sizes'), {}
    for name, value in pairs(sizes) do
      if math.type(value) == 'integer' then out[#out + 1] = name .. '=' .. value end
    end
    table.sort(out)
    return table.concat(out, ' ')`)
  const ours = Object.entries(sizes).map(([name, value]) => `${name}=${value}`)
  expect(text.split(' ')).toEqual(ours.sort())
})
