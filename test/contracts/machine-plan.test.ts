import { encodeCanonical, merkleLeaf, merkleRoot } from '@apus/shared/hashing'
import { bundleLayout, type Manifest, tileOf } from '@apus/shared/machine'
import { beforeAll, describe, expect, it } from 'vitest'
import { planStage, stageCount } from '../../shared/src/machine/plan.ts'
import { samplerSettings } from '../../shared/src/protocol/sampler.ts'
import { type Lua, loadInAos } from '../support/lua-modules.ts'
import { rangePath } from '../support/machine/proofs.ts'
import { AWKWARD_SHAPES, type ModelShape, manifestOf } from '../support/machine/random-model.ts'
import { seededRandom } from '../support/random.ts'

let lua: Lua
const base64 = (bytes: Uint8Array) => Buffer.from(bytes).toString('base64url')

beforeAll(async () => {
  lua = await loadInAos([
    'machine.plan',
    'machine.manifest',
    'codec.merkle-proof',
    'codec.cbor',
    'codec.merkle',
  ])
  await lua.run(`
    B = require('apus.codec.encoding').fromBase64Url
    manifest, layout, plan = require('apus.machine.manifest'), require('apus.machine.layout'), require('apus.machine.plan')
    return ''`)
})

const MODELS: readonly ModelShape[] = [
  ...AWKWARD_SHAPES,
  {
    name: '7B',
    layers: 32,
    width: 4096,
    heads: 32,
    kvHeads: 32,
    headSize: 128,
    hidden: 11_008,
    vocab: 128_256,
    context: 4096,
    tied: false,
    tokenizerBytes: 2_000_001,
  },
  {
    name: 'limits',
    layers: 128,
    width: 8192,
    heads: 64,
    kvHeads: 8,
    headSize: 128,
    hidden: 32_768,
    vocab: 2 ** 18,
    context: 65_536,
    tied: false,
  },
]

const SAMPLERS = [
  {},
  { temperature: 65_536 },
  { temperature: 65_536, topK: 40, topP: 60_000 },
  { temperature: 65_536, topP: 60_000 },
  { temperature: 65_536, topK: 64 },
].map(settings => samplerSettings.parse(settings))

describe('the plan', () => {
  for (const [i, shape] of MODELS.entries()) {
    it(`${shape.name}: layout, stages, operations, leaves, chunks`, async () => {
      const m = manifestOf(shape)
      const layout = bundleLayout(m)
      const sampler = SAMPLERS[i % SAMPLERS.length]!
      await lua.run(`
        m = manifest.read(B('${base64(encodeCanonical(m))}'))
        of = layout.of(m)
        sampler = { ${Object.entries(sampler)
          .map(([name, value]) => `${name} = ${value}`)
          .join(', ')} }
        return ''`)
      const last = m.layers - 1
      const { qkv, down, gateUp, o } = layout.layers[last]!
      const tensors = [
        [layout.embedding, 'of.embedding'],
        [layout.output, 'of.output'],
        [qkv, `layout.ofLayer(of, ${last}, 'qkv')`],
        [o, `layout.ofLayer(of, ${last}, 'o')`],
        [gateUp, `layout.ofLayer(of, ${last}, 'gateUp')`],
        [down, `layout.ofLayer(of, ${last}, 'down')`],
      ] as const
      const places = tensors.map(([tensor, code]) => {
        const [row, segment] = [tensor.rows - 1, tensor.segments - 1]
        const { leaf, row: first, rows, columns } = tileOf(tensor, row, segment)
        return { code: `tile(${code}, ${row}, ${segment})`, wanted: [leaf, first, rows, columns].join(',') }
      })
      const laid = await lua.run(`
        local function tile(tensor, row, segment)
          local t = layout.tile(tensor, row, segment)
          return table.concat({ t.leaf, t.row, t.rows, t.columns }, ',')
        end
        return table.concat({ of.leafCount, layout.gains(of, ${2 * m.layers}), ${places.map(p => p.code).join(', ')} }, ' ')`)
      expect(laid).toBe(
        [layout.leafCount, layout.gains(2 * m.layers), ...places.map(p => p.wanted)].join(' '),
      )
      const promptLength = Math.max(2, m.context - 2)
      const positions = [0, promptLength - 2, promptLength - 1, promptLength + 1]
      const terms = {
        manifest: m,
        layout,
        promptLength,
        sampler,
        noise: [1, 2] as const,
        maxTokens: 9,
        stop: [],
      }
      for (const position of positions) {
        const stages = stageCount(terms, position)
        const said = await lua.run(`
          local out = { plan.stages(m, ${promptLength}, ${position}) }
          for _, stage in ipairs({ 0, 1, ${m.layers}, ${stages - 1} }) do
            for _, o in ipairs(plan.operations(m, sampler, ${position}, ${promptLength}, stage)) do
              out[#out + 1] = table.concat({ stage, o.name, o.leaves, o.runLength or 0, o.chunks, o.bytesOf(0),
                o.bytesOf(o.leaves - 1), o.advice and 'advice' or '' }, ',')
            end
          end
          return table.concat(out, ' ')`)
        const wanted = [0, 1, m.layers, stages - 1].flatMap(stage =>
          planStage(terms, position, stage).map(o =>
            [
              stage,
              o.name,
              o.leaves,
              o.leavesPerRun ?? 0,
              o.chunks,
              o.leafBytes(0),
              o.leafBytes(o.leaves - 1),
              o.chunk(0).step ? '' : 'advice',
            ].join(','),
          ),
        )
        expect(said.split(' ')).toEqual([String(stages), ...wanted])
      }
    })
  }
})

describe('the manifest', () => {
  const good = manifestOf(AWKWARD_SHAPES[1]!)
  const readable = async (leaves: readonly Uint8Array[]) =>
    (
      await lua.run(`local out = {}
        for _, leaf in ipairs({ ${leaves.map(leaf => `B('${base64(leaf)}')`).join(', ')} }) do
          out[#out + 1] = manifest.read(leaf) and 'yes' or 'no'
        end
        return table.concat(out, ' ')`)
    ).split(' ')
  const { name: _, ...nameless } = good

  it('is read when it is within the limits', async () => {
    const models = MODELS.map(manifestOf)
    expect(await readable(models.map(m => encodeCanonical(m)))).toEqual(models.map(() => 'yes'))
  })

  it('is refused with one field beyond its limit, missing, unknown or of another type', async () => {
    const changes: Record<string, unknown>[] = [
      { machine: 2 },
      { layers: 0 },
      { layers: 129 },
      { width: 8193 },
      { heads: 5 },
      { heads: 129, kvHeads: 129 },
      { heads: 128, kvHeads: 1, headSize: 128 },
      { headSize: 24 },
      { headSize: 256 },
      { hidden: 32_769 },
      { vocab: 2 ** 18 + 1 },
      { context: 2 ** 18 + 1 },
      { context: 2 ** 18, heads: 128, headSize: 64 },
      { epsilon: 2 ** 48 },
      { epsilon: -1 },
      { tied: 0 },
      { name: 'x'.repeat(129) },
      { name: 7 },
      { formats: { ...good.formats, residual: 13 } },
      { formats: { ...good.formats, gate: 14 } },
      { formats: { ...good.formats, more: 12 } },
      { formats: [] },
      { planes: { ...good.planes, o: 3 } },
      { planes: { qkv: 1 } },
      { stop: [3, 3] },
      { stop: [17, 3] },
      { stop: [1091] },
      { stop: {} },
      { stop: Array.from({ length: 65 }, (_, i) => i) },
      { stop: ['3'] },
      { tokenizerBytes: 64 * 2 ** 20 + 1 },
      { other: 1 },
    ]
    const leaves = changes.map(change => encodeCanonical({ ...good, ...change } as Manifest))
    expect(await readable([...leaves, encodeCanonical(nameless), encodeCanonical([good])])).toEqual([
      ...leaves.map(() => 'no'),
      'no',
      'no',
    ])
  })

  it('is refused in any encoding that is not canonical', async () => {
    const text = Buffer.from(encodeCanonical(good))
    const at = text.indexOf(Buffer.from('vocab'))
    const widened = Buffer.concat([
      text.subarray(0, at + 5),
      Buffer.from([0x1a, 0, 0, text[at + 6]!, text[at + 7]!]),
      text.subarray(at + 8),
    ])
    const swapped = Buffer.from(text)
    swapped[0] = 0xbf
    const surrogate = Buffer.from(text)
    const name = text.indexOf(Buffer.from('grouped'))
    surrogate.set([0xed, 0xa0, 0x80], name)
    const cases = [
      widened,
      swapped,
      surrogate,
      text.subarray(0, -1),
      Buffer.concat([text, Buffer.alloc(1)]),
      Buffer.alloc(0),
      Buffer.concat([Buffer.from([0xd9, 0xd9, 0xf7]), text]),
      Buffer.alloc(16_000, 0x81),
    ]
    expect(await readable(cases)).toEqual(cases.map(() => 'no'))
  })
})

describe('canonical DAG-CBOR', () => {
  it('reads what DAG-CBOR writes and nothing else', async () => {
    const shown = (bytes: Uint8Array) =>
      lua.run(`
        local function show(v)
          if type(v) ~= 'table' then return tostring(v) end
          local out = {}
          for k, x in pairs(v) do out[#out + 1] = tostring(k) .. '=' .. show(x) end
          table.sort(out)
          return '{' .. table.concat(out, ',') .. '}'
        end
        return show(require('apus.codec.cbor').decode(B('${base64(bytes)}')))`)
    expect(
      await shown(encodeCanonical({ b: [1, 23, 24, 255, 256, 65_536, 2 ** 32, 2 ** 53 - 1], aa: 'é' })),
    ).toBe('{aa=é,b={1=1,2=23,3=24,4=255,5=256,6=65536,7=4294967296,8=9007199254740991}}')
    expect(await shown(encodeCanonical({ t: true, f: false, e: [], m: {} }))).toBe(
      '{e={},f=false,m={},t=true}',
    )
    const refused = [
      [0x18, 0x17],
      [0x19, 0, 0xff],
      [0x1b, 0, 0x20, 0, 0, 0, 0, 0, 0],
      [0x20],
      [0x41, 0],
      [0x61, 0xff],
      [0x61],
      [0x82, 1],
      [0xa2, 0x61, 0x62, 1, 0x61, 0x61, 1],
      [0xa2, 0x61, 0x61, 1, 0x61, 0x61, 1],
      [0xa2, 0x62, 0x61, 0x61, 1, 0x61, 0x62, 1],
      [0xa1, 1, 1],
      [0xc0, 0x60],
      [0xf6],
      [0xf7],
      [0xfb, 0x3f, 0xf0, 0, 0, 0, 0, 0, 0],
      [0xf8, 0x14],
      [0x9f, 1, 0xff],
      [1, 1],
      [],
    ]
    for (const bytes of refused) expect(await shown(Uint8Array.from(bytes)), String(bytes)).toBe('nil')
  })
})

describe('proofs in a tree', () => {
  it('show every range of every small tree, and nothing when anything is changed', async () => {
    const random = seededRandom(3)
    const lines: string[] = []
    const wanted: string[] = []
    for (let count = 1; count <= 19; count++) {
      const hashes = Array.from({ length: count }, (_, i) => merkleLeaf('t', Uint8Array.of(count, i)))
      const root = base64(merkleRoot(hashes))
      for (let first = 0; first < count; first++) {
        const length = 1 + random.below(count - first)
        const path = rangePath(hashes, first, length)
        const shown = hashes.slice(first, first + length)
        const ask = (c: number, f: number, h: readonly Uint8Array[], p: readonly Uint8Array[]) =>
          lines.push(
            `shows('${root}', ${c}, ${f}, '${base64(Buffer.concat(h))}', '${base64(Buffer.concat(p))}')`,
          )
        ask(count, first, shown, path)
        ask(count + 1, first, shown, path)
        ask(count, first + 1, shown, path)
        ask(count, first - 1, shown, path)
        ask(count, first, shown, [...path, hashes[0]!])
        ask(count, first, path.length > 0 ? shown : [hashes[first]!, hashes[first]!], path.slice(1))
        wanted.push('yes', 'no', 'no', 'no', 'no', 'no')
      }
    }
    const said = await lua.run(`
      local encoding, tree = require('apus.codec.encoding'), require('apus.codec.merkle-proof')
      local out = {}
      local function cut(bytes)
        local list = {}
        for at = 1, #bytes, 32 do list[#list + 1] = bytes:sub(at, at + 31) end
        return list
      end
      local function shows(root, count, first, hashes, path)
        local found = tree.root(count, first, cut(B(hashes)), cut(B(path)))
        out[#out + 1] = found and encoding.toBase64Url(found) == root and 'yes' or 'no'
      end
      ${lines.join('\n')}
      -- The same bytes cut into hashes of other lengths.
      local two = tree.root(4, 0, { ('a'):rep(32) }, { ('b'):rep(32), ('c'):rep(32) })
      out[#out + 1] = two and tree.root(4, 0, { ('a'):rep(32) }, { ('b'):rep(31), ('c'):rep(33) }) == nil and 'no' or 'yes'
      return table.concat(out, ' ')`)
    expect(said.split(' ')).toEqual([...wanted, 'no'])
  })
})
