import {
  angle,
  bitlen,
  cosine,
  exp2n,
  gumbel,
  log2q,
  mulrs,
  philox,
  rs,
  rsBig,
  rsqrt,
  satBig,
  sigmoid,
  sine,
} from '@apus/shared/machine'

/** A primitive's input for `kernels/self-test.wgsl` and what the machine says of it. */
export interface PrimitiveCase {
  readonly operation: number
  readonly input: readonly [a: number, b: number, c: number]
  readonly answer: readonly [number, number]
}

type Draw = (below: number) => number
type Sample = (draw: Draw) => Pick<PrimitiveCase, 'input' | 'answer'>

const WORD = 2n ** 32n
const u32 = (v: number): number => v >>> 0
const wide = (v: bigint): readonly [number, number] => [
  Number(BigInt.asUintN(32, v)),
  Number(BigInt.asUintN(32, v >> 32n)),
]

/** A magnitude below 2^bits, half of the time next to a power of two, where errors live. */
function magnitude(draw: Draw, bits: number): bigint {
  const power = BigInt(draw(bits + 1))
  const random = (BigInt(draw(2 ** 32)) * WORD + BigInt(draw(2 ** 32))) & ((1n << power) - 1n)
  const value = draw(2) === 0 ? random : (1n << power) + BigInt(draw(5) - 2)
  const most = (1n << BigInt(bits)) - 1n
  return value < 0n ? 0n : value > most ? most : value
}

const signed = (draw: Draw, bits: number): bigint => (draw(2) === 0 ? 1n : -1n) * magnitude(draw, bits)
const small = (draw: Draw): number => Number(signed(draw, 30))
const unsigned = (draw: Draw, bits: number): number => Number(magnitude(draw, bits))

/** Those that look a value up in a table; their places in SAMPLES are the kernel's. */
const EXP2N = 4
const SIGMOID = 5
const SINE = 6
const LOG2Q = 9
const exp2Case = (d: number): PrimitiveCase => ({ operation: EXP2N, input: [d, 0, 0], answer: [exp2n(d), 0] })
const sigmoidCase = (g: number, gate: number): PrimitiveCase => ({
  operation: SIGMOID,
  input: [u32(g), 0, gate],
  answer: [u32(sigmoid(g, gate)), 0],
})
const sineCase = (u: number): PrimitiveCase => ({
  operation: SINE,
  input: [u, 0, 0],
  answer: [u32(sine(u)), u32(cosine(u))],
})
const log2Case = (n: number): PrimitiveCase => ({ operation: LOG2Q, input: [n, 0, 0], answer: [log2q(n), 0] })

/** In the order of the kernel's cases. */
const SAMPLES: readonly Sample[] = [
  draw => {
    const [a, b, s] = [small(draw), small(draw), draw(60)]
    return { input: [u32(a), u32(b), s], answer: [u32(mulrs(a, b, s)), 0] }
  },
  draw => {
    const [v, s] = [signed(draw, 61), draw(62)]
    return { input: [...wide(v), s], answer: [u32(satBig(rsBig(v, s))), 0] }
  },
  draw => {
    const [v, s] = [small(draw), draw(31)]
    return { input: [u32(v), 0, s], answer: [u32(rs(v, s)), bitlen(u32(v))] }
  },
  draw => {
    const [a, b, s] = [small(draw), unsigned(draw, 32), draw(62)]
    return { input: [u32(a), b, s], answer: [u32(satBig(rsBig(BigInt(a) * BigInt(b), s))), 0] }
  },
  draw => exp2Case(unsigned(draw, 31)),
  draw => sigmoidCase(small(draw), 16 + 2 * draw(2)),
  draw => sineCase(unsigned(draw, 21)),
  draw => {
    const [f, t] = [magnitude(draw, 44), unsigned(draw, 18)]
    return { input: [...wide(f), t], answer: [angle(t, f), 0] }
  },
  draw => {
    const v = unsigned(draw, 49) + 1
    const [y, h] = rsqrt(v)
    return { input: [...wide(BigInt(v)), 0], answer: [y, h] }
  },
  draw => log2Case(Math.max(1, unsigned(draw, 32))),
  draw => {
    const [a, b, c] = [draw(2 ** 32), draw(2 ** 32), unsigned(draw, 32)]
    const four = philox([a, b], [c, u32(c ^ 0x5555_5555), 0, 1])
    return { input: [a, b, c], answer: [four[0], four[3]] }
  },
  draw => {
    const [v, d] = [small(draw), Math.max(1, Math.min(8_454_661, unsigned(draw, 24)))]
    const q = Math.floor((2 * Math.abs(v) + d) / (2 * d))
    return { input: [u32(v), d, 0], answer: [u32(v < 0 ? -q : q), 0] }
  },
  draw => {
    const s = 2 ** 30 + draw(2 ** 30)
    const a = Math.min(unsigned(draw, 30), Math.floor(s / 2))
    return { input: [a, s, 0], answer: [Number((BigInt(a) << 22n) / BigInt(s)), 0] }
  },
  draw => {
    const bytes = Array.from({ length: 8 }, () => (draw(3) === 0 ? draw(2) * 255 - 128 : draw(256) - 128))
    const a = bytes.slice(0, 4)
    const dot = a.reduce((sum, v, i) => sum + v * (bytes[4 + i] ?? 0), 0)
    return {
      input: [pack(a), pack(bytes.slice(4)), 0],
      answer: [u32(dot), pack(a.map(v => Math.trunc(v / 2)))],
    }
  },
  draw => {
    const [v, s] = [signed(draw, 62), draw(64)]
    return { input: [...wide(v), s], answer: wide(v >> BigInt(s)) }
  },
  draw => {
    const [a, b] = [draw(2 ** 32), draw(2 ** 32)]
    const v = BigInt(b) * WORD + BigInt(a)
    return { input: [a, b, 0], answer: wide(BigInt(a | 0) * BigInt(b | 0) - v) }
  },
  draw => {
    const [a, b, c] = [draw(2 ** 32), draw(2 ** 32), unsigned(draw, 18)]
    return { input: [a, b, c], answer: [u32(gumbel([a, b], c, c)), 0] }
  },
]

const pack = (bytes: readonly number[]): number =>
  u32(bytes.reduce((word, byte, i) => word | ((byte & 255) << (8 * i)), 0))

/** `count` cases, every primitive in turn, of inputs that `draw` chooses (an integer from 0 to below - 1). */
export function primitiveCases(count: number, draw: Draw): PrimitiveCase[] {
  return Array.from({ length: count }, (_, i) => {
    const operation = i % SAMPLES.length
    const sample = SAMPLES[operation]
    if (sample === undefined) throw new RangeError('no such primitive')
    return { ...sample(draw), operation }
  })
}

/** Cases that read every entry of every table: random inputs seldom show one wrong bit among them. */
export function tableCases(): PrimitiveCase[] {
  const all = (count: number, make: (i: number) => PrimitiveCase) =>
    Array.from({ length: count }, (_, i) => make(i))
  return [
    ...all(256, i => exp2Case(i << 8)),
    exp2Case(0xffff),
    ...all(1024, i => sigmoidCase(i << 10, 16)),
    sigmoidCase((1 << 20) - 1, 16),
    ...all(1025, i => sineCase(i << 9)),
    ...all(256, i => log2Case(2 ** 31 + i * 2 ** 23)),
    log2Case(2 ** 32 - 1),
  ]
}
