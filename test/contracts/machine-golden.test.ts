import { readFileSync } from 'node:fs'
import { beforeAll, describe, expect, it } from 'vitest'
import { type Lua, loadInAos, luaText } from '../support/lua-modules.ts'

interface ChunkVector {
  readonly step: { readonly kind: string }
  readonly inputs: readonly string[]
  readonly output: string
}

const vectors = <T>(name: string): T =>
  JSON.parse(readFileSync(new URL(`../vectors/machine/${name}.json`, import.meta.url), 'utf8')) as T
const MODULES = [
  'numbers',
  'scalars',
  'quantizer',
  'linear',
  'norm',
  'rows',
  'attention',
  'activation',
  'sampler',
]

/** Each kind of step from the inputs of a vector, by the modules that the referee computes with. */
const STEPS = `
  numbers, quantizer, linear = require('apus.machine.numbers'), require('apus.machine.quantizer'), require('apus.machine.linear')
  norm, rows, attention = require('apus.machine.norm'), require('apus.machine.rows'), require('apus.machine.attention')
  activation, sampler, stop = require('apus.machine.activation'), require('apus.machine.sampler'), require('apus.machine.stop')
  B, json = require('apus.codec.encoding').fromBase64, require('json')
  local function I(bytes, from, count) return numbers.readI32(bytes, from or 1, count or #bytes // 4) end
  local function ranked(bytes) return bytes and sampler.ranked(bytes) end
  local function check(holds) return holds and '\\1' or '\\0' end
  -- The score of a token in a vocabulary of one tile; none for a token beyond it.
  local function scoreOf(token, leaf, vocab) return token.index < vocab and I(leaf)[token.index % 1024 + 1] end
  steps = {
    embed = function(s, token, tile)
      local index = string.unpack('<I4', token)
      local row = index % s.tileRows
      local rowsOf = math.min(s.tileRows, s.vocab - (index - row))
      return numbers.writeI32(linear.embed(tile, rowsOf, s.columns, row, s.residual, s.from + 1, s.to))
    end,
    ['norm.part'] = function(_, x) return norm.part(I(x)) end,
    ['norm.scale'] = function(s, parts) return norm.scale(parts, s.epsilon) end,
    ['norm.quant'] = function(s, x, scale, gains) return norm.quant(I(x), scale, I(gains), s.planes) end,
    linear = function(s, a8, tile, x)
      local input, at = { q = {}, d = {}, q2 = {}, d2 = {} }, 1
      for from = 0, s.values - 1, 1024 do
        local count = math.min(1024, s.values - from)
        local size = count * s.planes + (count + 255) // 256 * 4
        quantizer.decode(a8:sub(at, at + size - 1), count, s.planes, input)
        at = at + size
      end
      local out = linear.rows(tile, s.rows, s.columns, input, s.planes)
      return numbers.writeI32(x and linear.residual(I(x), { out }, s.residual) or out)
    end,
    sum = function(_, ...)
      local leaves = { ... }
      local x, parts = I(table.remove(leaves)), {}
      for i, leaf in ipairs(leaves) do parts[i] = I(leaf) end
      return numbers.writeI32(linear.residual(x, parts, 0))
    end,
    row = function(s, leaf, frequencies)
      local head = I(leaf, s.at * 4 + 1, s.headSize)
      return rows.encode(s.turned and rows.rotate(head, frequencies, s.position) or head, s.limit)
    end,
    link = function(s, row, page) return check(rows.ofPage(page, s.row, s.headSize) == row) end,
    page = function(s, query, keys, values) return attention.page(query, keys, values, s.count, s.headSize, s.qk) end,
    group = function(s, pages) return attention.group(pages, s.headSize) end,
    out = function(s, groups) return numbers.writeI32(attention.out(groups, s.headSize)) end,
    quant = function(s, values) return quantizer.encode(I(values), s.planes) end,
    act = function(s, pairs) return activation.quant(I(pairs), s.gate, s.hidden, s.planes) end,
    scores = function(s, logits, tokens) return numbers.writeI32(sampler.scores(I(logits), s.first, s.sampler, I(tokens or ''))) end,
    ['max.tile'] = function(s, z) return sampler.max(I(z), s.first) end,
    best = function(_, tiles) return sampler.best(tiles) end,
    ['topk.count'] = function(s, z, tau) return sampler.count(I(z), s.first, ranked(tau)) end,
    ['topk.check'] = function(s, counts, tau, leaf)
      local token = ranked(tau)
      local z = scoreOf(token, leaf, s.vocab)
      return check(z and sampler.isTopK(counts, token, z, s.topK))
    end,
    ['topp.mass'] = function(s, z, most, tau) return sampler.mass(I(z), s.first, ranked(most).value, ranked(tau)) end,
    ['topp.before'] = function(s, z, most, token, tau)
      return sampler.massBefore(I(z), s.first, ranked(most).value, ranked(tau), ranked(token))
    end,
    ['topp.check'] = function(s, masses, befores, most, tau, leaf, last)
      local token = ranked(tau)
      local z = scoreOf(token, leaf, s.vocab)
      return check(z and sampler.isTopP(masses, befores, ranked(most).value, ranked(last), token, z, s.topP))
    end,
    ['pick.tile'] = function(s, z, ...)
      local lasts = {}
      for i, tau in ipairs({ ... }) do lasts[i] = ranked(tau) end
      return sampler.pick(I(z), s.first, lasts, s.noise, s.position)
    end,
    stop = function(s, token, ...)
      local index = ranked(token).index
      local strings = {}
      for i, text in ipairs(s.strings) do strings[i] = B(text) end
      local rules = { tokens = s.tokens, strings = strings, maximum = s.maximum, context = s.context }
      return string.pack('<I4I1', index, stop.flag(rules, index, s.n, s.promptLength, { ... }))
    end,
  }
  return ''`

describe('the machine in Lua gives the golden vectors', () => {
  let lua: Lua
  beforeAll(async () => {
    lua = await loadInAos([...MODULES, 'stop'].map(name => `machine.${name}`))
    await lua.run(STEPS)
  })

  it('of every scalar function', async () => {
    const said = await lua.run(`
      local scalars, encoding = require('apus.machine.scalars'), require('apus.codec.encoding')
      local functions = {
        rs = numbers.rs,
        mulrs = numbers.mulrs,
        exp2n = scalars.exp2n,
        sigmoid = scalars.sigmoid,
        sineCosine = function(u) return { scalars.sine(u), scalars.cosine(u) } end,
        rsqrt = function(v) return { scalars.rsqrt(v) } end,
        log2q = scalars.log2q,
        philox = function(...) return { scalars.philox(...) } end,
        gumbel = sampler.gumbel,
        quantize = function(values)
          local into = { q = {}, d = {}, q2 = {}, d2 = {} }
          quantizer.decode(quantizer.encode(values, 2), #values, 2, into)
          return { into.q, into.d, into.q2 }
        end,
        row = function(values, limit)
          local e, v = rows.decode(rows.encode(values, limit))
          return { e, v }
        end,
      }
      local function show(v)
        if type(v) ~= 'table' then return tostring(v) end
        local out = {}
        for i, x in ipairs(v) do out[i] = show(x) end
        return '[' .. table.concat(out, ',') .. ']'
      end
      local wrong, count = {}, 0
      for name, cases in pairs(json.decode(${luaText(JSON.stringify(vectors('primitives')))})) do
        for _, case in ipairs(cases) do
          count = count + 1
          local given = show(functions[name](table.unpack(case[1])))
          if given ~= show(case[2]) then wrong[#wrong + 1] = name .. show(case[1]) .. given end
        end
      end
      return count .. ' ' .. table.concat(wrong, ' ')`)
    const all = Object.values(vectors<Record<string, unknown[]>>('primitives')).flat()
    expect(said).toBe(`${all.length} `)
  })

  it('of every kind of step', async () => {
    const chunks = vectors<readonly ChunkVector[]>('chunks')
    const said: string[] = []
    for (let i = 0; i < chunks.length; i += 50) {
      const part = JSON.stringify(chunks.slice(i, i + 50))
      const text = await lua.run(`
        local out = {}
        for _, vector in ipairs(json.decode(${luaText(part)})) do
          local inputs = {}
          for i, input in ipairs(vector.inputs) do inputs[i] = B(input) end
          local given = steps[vector.step.kind](vector.step, table.unpack(inputs))
          out[#out + 1] = vector.step.kind .. (given == B(vector.output) and '' or '!')
        end
        return table.concat(out, ' ')`)
      said.push(...text.split(' '))
    }
    expect(said).toEqual(chunks.map(({ step }) => step.kind))
    expect(new Set(said).size).toBe(23)
  })
})
