import { bundleLayout, decodeManifest } from '@apus/shared/machine'
import { describe, expect, it } from 'vitest'
import { checkLeaf } from '../../shared/src/machine/domain.ts'
import { type Lua, loadInAos, loadInPlainLua, luaText } from '../support/lua-modules.ts'
import { AWKWARD_SHAPES, randomBundle } from '../support/machine/random-model.ts'
import { seededRandom } from '../support/random.ts'

const CHANGES = 40
const isAllowed = (check: () => void): boolean => {
  try {
    check()
    return true
  } catch {
    return false
  }
}

describe('the law of bundle leaves in Lua', () => {
  it.each(AWKWARD_SHAPES.slice(0, 4))('is that of the machine for the model $name', async shape => {
    const random = seededRandom(7)
    const lua: Lua =
      (await loadInPlainLua(['machine.bundle-leaf', 'machine.manifest'])) ??
      (await loadInAos(['machine.bundle-leaf', 'machine.manifest']))
    const bundle = randomBundle(shape, 3)
    const manifest = decodeManifest(bundle.leaf(0))
    const layout = bundleLayout(manifest)
    const kinds = [layout.frequencies, layout.gains(0), ...layout.tensors.map(t => t.first), layout.pieces]
    const cases: [number, Uint8Array][] = bundle.leaves.map((leaf, i) => [i, leaf])
    for (let n = 0; n < CHANGES; n++) {
      const index = kinds[n % kinds.length] as number
      const leaf = Uint8Array.from(bundle.leaf(index))
      if (n % 5 === 0) cases.push([index, leaf.slice(random.below(3))])
      else {
        const tail = random.below(Math.min(leaf.length, 1 + random.below(leaf.length)))
        leaf[leaf.length - 1 - tail] = [0, 1, 0x80, 0xff, random.below(256)][random.below(5)] as number
        cases.push([index, leaf])
      }
    }
    const wanted = cases.map(([i, leaf]) =>
      i === 0 || isAllowed(() => checkLeaf(manifest, layout, i, leaf)) ? '1' : '0',
    )
    expect(wanted).toContain('0')
    const calls = cases.map(([i, leaf]) => `of(m, ${i}, ${luaText(leaf)}) and '1' or '0'`)
    const out = []
    for (let at = 0; at < calls.length; at += 50) {
      out.push(
        await lua.run(`local of = require('apus.machine.bundle-leaf').isLegal
          local m = require('apus.machine.manifest').read(${luaText(bundle.leaf(0))})
          return 'r' .. table.concat({${calls.slice(at, at + 50).join(',')}})`),
      )
    }
    expect(out.map(text => text.slice(1)).join('')).toBe(wanted.join(''))
  })

  it('wants one shift for all segments of a row', async () => {
    const lua: Lua =
      (await loadInPlainLua(['machine.bundle-leaf', 'machine.manifest'])) ??
      (await loadInAos(['machine.bundle-leaf', 'machine.manifest']))
    const bundle = randomBundle(AWKWARD_SHAPES[3]!, 3)
    const manifest = decodeManifest(bundle.leaf(0))
    const { down } = bundleLayout(manifest).layers[0]!
    const second = bundle.leaf(down.first + 1)
    const other = second.slice()
    const at = other.length - 5 * Math.min(down.tileRows, down.rows)
    other[at] = (other[at] as number) === 9 ? 8 : 9
    const call = (leaf: Uint8Array) =>
      lua.run(`local b = require('apus.machine.bundle-leaf')
        local m = require('apus.machine.manifest').read(${luaText(bundle.leaf(0))})
        return tostring(b.firstSegment(m, ${down.first})) .. ' ' .. b.firstSegment(m, ${down.first + 1}) .. ' '
          .. tostring(b.hasSameShifts(m, ${luaText(bundle.leaf(down.first))}, ${down.first + 1}, ${luaText(leaf)}))`)
    expect(await call(second)).toBe(`nil ${down.first} true`)
    expect(await call(other)).toBe(`nil ${down.first} false`)
  })
})
