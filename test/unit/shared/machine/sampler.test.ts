import { exp2n, gumbel, log2q, philox, SAT } from '@apus/shared/machine'
import type { SamplerSettings } from '@apus/shared/protocol'
import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import {
  before,
  bestOf,
  choose,
  keeping,
  mass,
  NOBODY,
  noiseKey,
  type Ranked,
  ranked,
  scores,
  topPTarget,
} from '../../../../shared/src/machine/sampler.ts'
import { type StopRules, stopFlag } from '../../../../shared/src/machine/stop.ts'
import { samplerSettings } from '../../../../shared/src/protocol/sampler.ts'
import { seededRandom } from '../../../support/random.ts'

const settings = (part: Partial<SamplerSettings>): SamplerSettings => samplerSettings.parse(part)
const KEY = noiseKey(Buffer.from('key'))

const anySettings = fc.record({
  temperature: fc.constantFrom(0, 655, 40_000, 65_536, 262_144),
  topK: fc.constantFrom(0, 1, 2, 40, 1024),
  topP: fc.constantFrom(1, 30_000, 58_982, 65_535, 65_536),
  repeatPenalty: fc.constantFrom(65_536, 70_000, 262_144),
  frequencyPenalty: fc.constantFrom(-131_072, 0, 5, 131_072),
  presencePenalty: fc.constantFrom(-131_072, 0, 131_072),
  penaltyWindow: fc.constantFrom(0, 1, 64),
  seed: fc.constant(0),
})

/** Logits of some vocabulary, with ties and extremes. */
const anyLogits = fc
  .tuple(fc.integer({ min: 0, max: 2 ** 32 - 1 }), fc.constantFrom(1, 2, 70, 1024, 1025, 2100))
  .map(([seed, n]) => {
    const random = seededRandom(seed)
    const spread = 2 ** (4 + random.below(27))
    return Int32Array.from({ length: n }, () =>
      random.below(50) === 0 ? SAT : random.below(Math.min(spread, SAT)) - spread / 2,
    )
  })

describe('scores', () => {
  const clamp = (v: bigint) => (v > 2n ** 30n - 1n ? 2n ** 30n - 1n : v < 1n - 2n ** 30n ? 1n - 2n ** 30n : v)
  const round = (v: bigint, s: bigint) => (v + (1n << (s - 1n))) >> s

  it('are logits after penalties, then temperature', () => {
    fc.assert(
      fc.property(anyLogits, anySettings, (logits, s) => {
        const recent = Array.from({ length: s.penaltyWindow }, (_, i) => (i * i) % Math.min(logits.length, 9))
        const exact = Array.from(logits, (logit, v) => {
          const count = recent.filter(token => token === v).length
          let l = BigInt(logit)
          if (count > 0) {
            const r = BigInt(s.repeatPenalty)
            const shrink = (2n ** 32n + (r >> 1n)) / r
            l = clamp(round(l * (l > 0n ? shrink : r), 16n))
            l = clamp(l - BigInt(count) * BigInt(s.frequencyPenalty) - BigInt(s.presencePenalty))
          }
          if (s.temperature === 0) return l
          const t = BigInt(s.temperature)
          return clamp(round(l * ((6196328019n + (t >> 1n)) / t), 16n))
        })
        expect([...scores(logits, s, recent)].map(BigInt)).toEqual(exact)
      }),
      { numRuns: 150 },
    )
  })

  it('are the logits where nothing is asked', () => {
    expect([...scores(Int32Array.of(5, -7, SAT), settings({}), [0, 1, 2, 2])]).toEqual([5, -7, SAT])
  })
})

describe('gumbel', () => {
  function reference(key: readonly [number, number], token: number, position: number): bigint {
    const a = BigInt(philox(key, [token >> 2, position, 0, 0])[token % 4]!) | 1n
    const rounded = (n: bigint) => (BigInt(log2q(Number(n))) + 128n) >> 8n
    if (a < 2n ** 23n) return 2n ** 21n - rounded(a) - 34653n - (((a >> 9n) * 47274n) >> 23n)
    return 2n ** 20n + 2n ** 19n - rounded(2n ** 29n - BigInt(log2q(Number(2n ** 32n - a))))
  }

  it('is the specified noise, near −log2(−log2 u)', () => {
    const u32 = fc.integer({ min: 0, max: 2 ** 32 - 1 })
    fc.assert(
      fc.property(
        u32,
        u32,
        fc.integer({ min: 0, max: 2 ** 18 - 1 }),
        fc.integer({ min: 0, max: 2 ** 18 }),
        (k0, k1, token, position) => {
          const y = gumbel([k0, k1], token, position)
          expect(BigInt(y)).toBe(reference([k0, k1], token, position))
          const a = (philox([k0, k1], [token >> 2, position, 0, 0])[token % 4]! | 1) >>> 0
          const real = -Math.log2(-Math.log1p(-a / 2 ** 32) / Math.LN2)
          expect(Math.abs(y / 65_536 - real)).toBeLessThan(2 ** -10)
        },
      ),
      { numRuns: 3000 },
    )
  })

  it('covers both branches', () => {
    const found = Array.from({ length: 4000 }, (_, token) => gumbel(KEY, token, 3))
    expect(Math.max(...found)).toBeGreaterThan(9 * 65_536)
    expect(Math.min(...found)).toBeLessThan(-3 * 65_536)
  })
})

describe('choosing', () => {
  /** Everything by sorting and adding, nothing by tiles. */
  function reference(
    logits: Int32Array,
    s: SamplerSettings,
    recent: readonly number[],
    position: number,
  ): number {
    const z = scores(logits, s, recent)
    let kept: Ranked[] = Array.from(z, (value, index) => ({ value, index })).sort(
      (a, b) => b.value - a.value || a.index - b.index,
    )
    const max = kept[0]!
    if (s.temperature === 0) return max.index
    if (s.topK > 0) kept = kept.slice(0, s.topK)
    if (s.topP < 65_536) {
      const masses = kept.map(token => BigInt(exp2n(max.value - token.value) >>> 6))
      const total = masses.reduce((a, b) => a + b, 0n)
      const target = (BigInt(s.topP) * total + 65_535n) >> 16n
      let sum = 0n
      const last = masses.findIndex(w => {
        sum += w
        return sum >= target
      })
      kept = kept.slice(0, last + 1)
    }
    const noisy = kept.map(token => ({ ...token, value: token.value + gumbel(KEY, token.index, position) }))
    return noisy.sort((a, b) => b.value - a.value || a.index - b.index)[0]!.index
  }

  it('gives what sorting gives', () => {
    fc.assert(
      fc.property(anyLogits, anySettings, fc.integer({ min: 1, max: 9999 }), (logits, s, position) => {
        const recent = Array.from({ length: s.penaltyWindow }, (_, i) => i % logits.length)
        expect(choose(logits, s, recent, KEY, position).token).toBe(reference(logits, s, recent, position))
      }),
      { numRuns: 400 },
    )
  })

  it('names thresholds that keep exactly the tokens up to them', () => {
    const logits = Int32Array.of(10, 30, 30, 20, 30, -5)
    const s = settings({ temperature: 65_536, topK: 2, topP: 65_535 })
    const { z, topK, topP } = choose(logits, s, [], KEY, 1)
    expect([topK?.index, topP?.index]).toEqual([2, 2])
    const kept = [...z.keys()].filter(index => keeping(topK, topP)({ value: z[index]!, index }))
    expect(kept).toEqual([1, 2])
    expect(choose(logits, { ...s, topP: 1 }, [], KEY, 1).topP?.index).toBe(1)
    expect(choose(logits, { ...s, topK: 6 }, [], KEY, 1).topK).toBeUndefined()
    expect(choose(logits, { ...s, temperature: 0 }, [], KEY, 1)).toMatchObject({ token: 1, topK: undefined })
  })

  it('takes the lower index of equals', () => {
    const z = new Int32Array(3000).fill(7)
    expect(bestOf(ranked(z, 5))).toEqual({ value: 7, index: 5 })
    expect(bestOf([])).toEqual(NOBODY)
    z[2999] = 8
    expect(bestOf(ranked(z)).index).toBe(2999)
    expect(before({ value: 1, index: 5 }, { value: 1, index: 6 })).toBe(true)
  })

  it('counts the mass of the largest vocabulary exactly', () => {
    expect(mass(0, 0)).toBe(2 ** 24)
    for (const total of [2 ** 42, 2 ** 42 - 1, 2 ** 41 + 12_345]) {
      expect(BigInt(topPTarget(65_535, total))).toBe((65_535n * BigInt(total) + 65_535n) >> 16n)
    }
  })

  it('draws tokens as often as their mass says', () => {
    // Scores of 0, −1 and −2 in log2 units: 4 : 2 : 1.
    const z = Int32Array.of(0, -65_536, -131_072).map(v => Math.round(v * Math.LN2))
    const counts = [0, 0, 0]
    for (let position = 0; position < 7000; position++) {
      counts[choose(z, settings({ temperature: 65_536 }), [], KEY, position).token]! += 1
    }
    expect(counts.every((n, i) => Math.abs(n - [4000, 2000, 1000][i]!) < 150)).toBe(true)
  })
})

describe('the stop flag', () => {
  const text = (s: string) => new Uint8Array(Buffer.from(s))
  const rules: StopRules = { tokens: [7], strings: [text('ab'), text('é!')], maximum: 5, context: 20 }
  const flag = (pieces: readonly string[], token = 1, n = 0, prompt = 3, over: Partial<StopRules> = {}) =>
    stopFlag({ ...rules, ...over }, token, n, prompt, pieces.map(text))

  it('is the first rule that holds', () => {
    expect(flag(['ab'], 7)).toBe(1)
    expect(flag(['xaby'], 1, 4)).toBe(2)
    expect(flag(['x'], 1, 4, 16)).toBe(3)
    expect(flag(['x'], 1, 2, 18)).toBe(4)
    expect(flag(['x'], 1, 1, 18)).toBe(0)
  })

  it('finds a string that ends inside the newest piece, also across pieces', () => {
    expect(flag(['a', '', 'b'])).toBe(2)
    expect(flag(['é', '!'])).toBe(2)
    expect(flag(['ab', 'x'])).toBe(0)
    expect(flag(['ab', ''])).toBe(0)
    expect(flag(['aab', 'ab'])).toBe(2)
    expect(flag([])).toBe(0)
  })

  it('forgets what lies more than 64 pieces back', () => {
    const empty = Array<string>(62).fill('')
    expect(flag(['a', ...empty, 'b'])).toBe(2)
    expect(flag(['a', '', ...empty, 'b'])).toBe(0)
  })
})
