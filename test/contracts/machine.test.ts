import {
  bitlen,
  cosine,
  decodeTile,
  exp2n,
  gumbel,
  log2q,
  mulrs,
  type NoiseKey,
  philox,
  rsBig,
  rsqrt,
  SAT,
  sigmoid,
  sine,
} from '@apus/shared/machine'
import { beforeAll, describe, expect, it } from 'vitest'
import { activate } from '../../shared/src/machine/activation.ts'
import {
  attendGroup,
  attendHead,
  attendPage,
  decodeNode,
  encodeNode,
} from '../../shared/src/machine/attention.ts'
import { embedRow, linearRow } from '../../shared/src/machine/linear.ts'
import {
  decodeParts,
  decodeScale,
  encodeParts,
  encodeScale,
  normed,
  normParts,
  normScale,
} from '../../shared/src/machine/norm.ts'
import { decodeA8, encodeA8, quantize } from '../../shared/src/machine/quantizer.ts'
import {
  CACHE_LIMIT,
  decodeRow,
  encodeRow,
  Page,
  QUERY_LIMIT,
  rotate,
  rowOf,
} from '../../shared/src/machine/rows.ts'
import { type Lua, loadInAos, loadInPlainLua } from '../support/lua-modules.ts'
import { type Case, compareOn, i32Bytes, of } from '../support/machine/lua-cases.ts'
import { seededRandom } from '../support/random.ts'

const random = seededRandom(20_261_121)
const hosts: [string, Lua][] = []
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

beforeAll(async () => {
  const names = MODULES.map(name => `machine.${name}`)
  hosts.push(['aos', await loadInAos(names)])
  const plain = await loadInPlainLua(names)
  if (plain) hosts.push(['plain Lua', plain])
})

const compare = (lua: string, cases: readonly Case[]) => compareOn(hosts, lua, cases)

const times = <T>(n: number, make: (i: number) => T): T[] => Array.from({ length: n }, (_, i) => make(i))
/** Numbers of any magnitude below 2^bits, ends and neighbours of powers of two among them. */
function wide(bits: number): bigint {
  const power = 1n << BigInt(random.below(bits + 1))
  const near = power + BigInt(random.below(5) - 2)
  const free = (BigInt(random.u32()) << 32n) | BigInt(random.u32())
  const v = random.below(3) === 0 ? near : free % power
  return v < 0n ? 0n : v >= 1n << BigInt(bits) ? (1n << BigInt(bits)) - 1n : v
}
const signed = (bits: number) => (random.below(2) ? wide(bits) : -wide(bits))
const stored = () => Number(random.below(8) === 0 ? (random.below(2) ? SAT : -SAT) : signed(30))
const vector = (n: number, make = stored) => Int32Array.from({ length: n }, make)
/** Values of about one magnitude, as a model's are, with outliers. */
const natural = (n: number, bits: number) =>
  vector(n, () =>
    Math.max(-SAT, Math.min(SAT, Math.round(random.normal() * 2 ** bits * (random.below(99) ? 1 : 30)))),
  )

describe('the machine in Lua is the oracle', () => {
  it('numbers', async () => {
    await compare(
      "require('apus.machine.numbers').rs",
      times(400, () => {
        const [v, s] = [signed(61), random.below(62)]
        return of(rsBig(v, s), v, s)
      }),
    )
    await compare(
      "require('apus.machine.numbers').mulrs",
      times(400, () => {
        const [a, b, s] = [stored(), Number(signed(32)), random.below(50)]
        return of(mulrs(a, b, s), a, b, s)
      }),
    )
    await compare(
      "require('apus.machine.numbers').bitlen",
      times(200, () => {
        const n = Number(wide(52))
        return of(bitlen(n), n)
      }),
    )
  })

  it('scalar functions', async () => {
    const scalars = "require('apus.machine.scalars')"
    const any = (bits: number) => Number(wide(bits))
    await compare(
      `${scalars}.exp2n`,
      times(600, i => (i < 100 ? of(exp2n(i * 21_000), i * 21_000) : (d => of(exp2n(d), d))(any(31)))),
    )
    for (const gate of [16, 18]) {
      await compare(
        `${scalars}.sigmoid`,
        times(500, () => (g => of(sigmoid(g, gate), g, gate))(stored())),
      )
    }
    const angles = [
      0,
      1,
      511,
      512,
      2 ** 19 - 1,
      2 ** 19,
      2 ** 19 + 1,
      2 ** 20 - 1,
      2 ** 20,
      3 * 2 ** 19,
      2 ** 21 - 1,
    ]
    const turns = [...angles, ...times(500, () => random.below(2 ** 21))]
    await compare(
      `${scalars}.sine`,
      turns.map(u => of(sine(u), u)),
    )
    await compare(
      `${scalars}.cosine`,
      turns.map(u => of(cosine(u), u)),
    )
    await compare(
      `${scalars}.rsqrt`,
      times(600, () => (v => of([...rsqrt(v)], v))(Math.max(1, any(50)))),
    )
    await compare(
      `${scalars}.log2q`,
      times(600, () => (n => of(log2q(n), n))(Math.max(1, any(32)))),
    )
    await compare(
      `${scalars}.philox`,
      times(400, i => {
        const [k0, k1, c0, c1, c2, c3] = times(6, () =>
          i === 0 ? 0 : i === 1 ? 2 ** 32 - 1 : random.u32(),
        ) as [number, number, number, number, number, number]
        return of([...philox([k0, k1], [c0, c1, c2, c3])], k0, k1, c0, c1, c2, c3)
      }),
    )
  })

  it('A8 vectors', async () => {
    const sizes = [1, 31, 255, 256, 257, 1000, 1024]
    for (const planes of [1, 2] as const) {
      await compare(
        "require('apus.machine.quantizer').encode",
        times(28, i => {
          const n = sizes[i % sizes.length]!
          const values = i % 4 === 0 ? vector(n) : natural(n, random.below(29))
          return of(encodeA8(quantize(values, planes))[0]!, values, planes)
        }),
      )
    }
  })

  it('linear rows and embeddings', async () => {
    for (const planes of [1, 2] as const) {
      const cases = times(24, i => {
        const [rows, width] = (
          [
            [1, 8],
            [4, 96],
            [2, 300],
            [1, 1024],
            [2, 8192],
            [3, 2100],
          ] as const
        )[i % 6]!
        const columns = Math.ceil(width / 32) * 32
        const leaf = randomTile(rows, width, i % 5 === 0)
        const tile = decodeTile(leaf, rows, columns)
        const values =
          i % 5 === 0 ? vector(width, () => (random.below(2) ? SAT : -SAT)) : natural(width, random.below(29))
        const leaves = encodeA8(quantize(values, planes))
        const input = decodeA8(leaves, width, planes)
        const wanted = Int32Array.from({ length: rows }, (_, r) => linearRow(tile, r, input, 0))
        return of(i32Bytes(wanted), leaf, rows, columns, Buffer.concat(leaves), width, planes)
      })
      await compare(
        `function(tile, rows, columns, leaves, n, planes)
          local quantizer = require('apus.machine.quantizer')
          local into, at, blocks = { q = {}, d = {}, q2 = {}, d2 = {} }, 1, nil
          for from = 0, n - 1, 1024 do
            local count = math.min(1024, n - from)
            local size = count * planes + (count + 255) // 256 * 4
            quantizer.decode(leaves:sub(at, at + size - 1), count, planes, into)
            at = at + size
          end
          return require('apus.machine.linear').rows(tile, rows, columns, into, planes)
        end`,
        cases,
      )
    }
    await compare(
      "require('apus.machine.linear').embed",
      times(20, i => {
        const [residual, width, rows] = [[12, 14, 16, 18][i % 4]!, 40 + random.below(200), 4]
        const columns = Math.ceil(width / 32) * 32
        const leaf = randomTile(rows, width, false, residual)
        const row = random.below(rows)
        const all = embedRow(decodeTile(leaf, rows, columns), row, width, residual)
        return of(i32Bytes(all.slice(3, 33)), leaf, rows, columns, row, residual, 4, 33)
      }),
    )
  })

  it('norms', async () => {
    await compare(
      `function(x) return require('apus.machine.norm').part(x) end`,
      times(20, i =>
        (x => of(encodeParts(normParts(x))[0]!, x))(
          i % 3 ? natural(1 + random.below(1024), i) : vector(1024),
        ),
      ),
    )
    const partsOf = (i: number) =>
      encodeParts(
        normParts(i === 0 ? vector(8192, () => 0) : i % 3 ? natural(8192, i) : vector(8192, () => SAT)),
      )
    await compare(
      "require('apus.machine.norm').scale",
      times(12, i => {
        const leaves = partsOf(i)
        const epsilon = i === 0 ? 0 : Number(wide(48))
        return of(encodeScale(normScale(decodeParts(leaves), epsilon)), Buffer.concat(leaves), epsilon)
      }),
    )
    await compare(
      "require('apus.machine.norm').quant",
      times(20, i => {
        const x = i % 3 ? natural(1000, random.below(28)) : vector(1024)
        const scale = encodeScale(normScale(normParts(x), 1000))
        const gains = i % 3 ? natural(x.length, 18) : vector(x.length)
        const planes = i % 2 ? 1 : 2
        return of(
          encodeA8(quantize(normed(x, decodeScale(scale), gains), planes))[0]!,
          x,
          scale,
          gains,
          planes,
        )
      }),
    )
  })

  it('rows', async () => {
    await compare(
      "require('apus.machine.rows').rotate",
      times(24, i => {
        const size = [8, 16, 32, 64, 128][i % 5]!
        const f = BigUint64Array.from({ length: size / 2 }, () => (i % 3 ? wide(44) : (1n << 44n) - 1n))
        const position = i % 3 ? random.below(2 ** 18) : 2 ** 18 - 1
        const values = i % 4 ? natural(size, random.below(29)) : vector(size)
        return of(i32Bytes(rotate(values, f, position)), values, new Uint8Array(f.buffer), position)
      }),
    )
    for (const limit of [QUERY_LIMIT, CACHE_LIMIT]) {
      await compare(
        "require('apus.machine.rows').encode",
        times(40, i => (v => of(encodeRow(rowOf(v, limit)), v, limit))(i ? vector(8) : vector(8, () => 0))),
      )
    }
    await compare(
      "require('apus.machine.rows').ofPage",
      times(8, i => {
        const page = randomPage(16)
        return of(encodeRow(page.row(i * 9)), page.encode(), i * 9, 16)
      }),
    )
  })

  it('attention', async () => {
    await compare(
      "require('apus.machine.attention').page",
      times(20, i => {
        const size = [8, 32, 64, 128][i % 4]!
        const [count, qk] = [i < 4 ? 64 : 1 + random.below(64), [12, 14, 16, 18][random.below(4)]!]
        const query = encodeRow(
          rowOf(i < 4 ? vector(size, () => SAT) : natural(size, random.below(29)), QUERY_LIMIT),
        )
        const [keys, values] = [randomPage(size), randomPage(size)]
        const node = attendPage(decodeRow(query), keys, values, count, qk)
        return of(encodeNode(node), query, keys.encode(), values.encode(), count, size, qk)
      }),
    )
    const nodes = (n: number, size: number, far: number) =>
      times(n, () => {
        const query = decodeRow(encodeRow(rowOf(natural(size, 18 + far), QUERY_LIMIT)))
        return encodeNode(attendPage(query, randomPage(size), randomPage(size), 1 + random.below(64), 16))
      })
    await compare(
      "require('apus.machine.attention').group",
      times(12, i => {
        const list = nodes(1 + (i % 6), 8, random.below(6))
        return of(encodeNode(attendGroup(list.map(decodeNode))), Buffer.concat(list), 8)
      }),
    )
    await compare(
      "require('apus.machine.attention').out",
      times(12, i => {
        const list = times(1 + (i % 4), () =>
          encodeNode(attendGroup(nodes(1 + random.below(3), 8, random.below(6)).map(decodeNode))),
        )
        return of(i32Bytes(attendHead(list.map(decodeNode))), Buffer.concat(list), 8)
      }),
    )
  })

  it('activation', async () => {
    await compare(
      "require('apus.machine.activation').quant",
      times(20, i => {
        const pairs = i % 3 ? natural(2 * (1 + random.below(512)), random.below(24)) : vector(400)
        const [gate, hidden, planes] = [
          [16, 18][i % 2]!,
          [8, 10, 12, 14, 16, 18][i % 6]!,
          i % 2 ? 1 : 2,
        ] as const
        return of(encodeA8(quantize(activate(pairs, gate, hidden), planes))[0]!, pairs, gate, hidden, planes)
      }),
    )
  })

  it('noise, its tails among it', async () => {
    const key: NoiseKey = [random.u32(), random.u32()]
    const drawn = times(20_000, token => ({ token, y: gumbel(key, token, 77) })).sort((a, b) => a.y - b.y)
    const tails = [...drawn.slice(0, 50), ...drawn.slice(-60)]
    expect(drawn.at(-20)?.y).toBeGreaterThan(8.5 * 65_536)
    await compare("require('apus.machine.sampler').gumbel", [
      ...tails.map(({ token, y }) => of(y, key[0], key[1], token, 77)),
      ...times(300, () => {
        const [k0, k1, token, position] = [
          random.u32(),
          random.u32(),
          random.below(2 ** 18),
          random.below(2 ** 18),
        ]
        return of(gumbel([k0, k1], token, position), k0, k1, token, position)
      }),
    ])
  })
})

/** A tile in the machine's domain; `extreme` has the greatest weights and multipliers that there are. */
function randomTile(rows: number, width: number, extreme: boolean, residual?: number): Uint8Array {
  const columns = Math.ceil(width / 32) * 32
  const weights = Int8Array.from({ length: rows * columns }, (_, i) =>
    i % columns >= width ? 0 : extreme ? (random.below(2) ? 127 : -127) : random.below(255) - 127,
  )
  const multipliers = Uint16Array.from({ length: (rows * columns) / 32 }, () =>
    extreme ? 2047 : random.below(2048),
  )
  const shifts = Uint8Array.from({ length: rows }, () =>
    residual === undefined
      ? extreme
        ? 1
        : 1 + random.below(56)
      : Math.max(1, residual - 10 + random.below(43)),
  )
  const biases = vector(rows, residual === undefined ? stored : () => 0)
  return Buffer.concat(
    [weights, new Uint8Array(multipliers.buffer), shifts, i32Bytes(biases)].map(
      a => new Uint8Array(a.buffer, a.byteOffset, a.byteLength),
    ),
  )
}

function randomPage(size: number): Page {
  const page = new Page(size)
  for (let row = 0; row < 64; row++)
    page.set(
      row,
      rowOf(
        random.below(9)
          ? natural(size, 8 + random.below(20))
          : vector(size, () => (random.below(2) ? SAT : -SAT)),
        CACHE_LIMIT,
      ),
    )
  return page
}
