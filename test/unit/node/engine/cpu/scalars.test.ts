import { expect, test } from 'vitest'
import * as oracle from '../../../../../shared/src/machine/scalars.ts'
import { seededRandom } from '../../../../support/random.ts'
import { Workbench } from './workbench.ts'

const { kernels } = new Workbench()
const random = seededRandom(1)

/** Powers of two with their neighbours below `limit`, then random numbers of every size. */
function* numbers(limit: number, count: number): Generator<number> {
  for (let p = 1; p < limit; p *= 2) {
    for (const n of [p - 1, p, p + 1]) if (n < limit) yield n
  }
  yield limit - 1
  for (let i = 0; i < count; i++) {
    const most = Math.min(limit, 2 ** (1 + random.below(53)))
    yield Math.floor(random.unit() * most)
  }
}

test('exp2n', () => {
  for (const d of numbers(2 ** 31, 20_000)) expect([d, kernels.exp2n(d)]).toEqual([d, oracle.exp2n(d)])
})

test('sigmoid', () => {
  for (const gate of [16, 18]) {
    for (const g of numbers(2 ** 30, 10_000)) {
      expect([g, kernels.sigmoid(g, gate)]).toEqual([g, oracle.sigmoid(g, gate)])
      expect([-g, kernels.sigmoid(-g, gate)]).toEqual([-g, oracle.sigmoid(-g, gate)])
    }
  }
})

test('sine and cosine', () => {
  for (const u of numbers(2 ** 21, 20_000)) {
    expect([u, kernels.sine(u), kernels.cosine(u)]).toEqual([u, oracle.sine(u) + 0, oracle.cosine(u) + 0])
  }
})

test('rsqrt', () => {
  for (const v of numbers(2 ** 50, 20_000)) {
    if (v < 1) continue
    const packed = kernels.rsqrt(BigInt(v))
    expect([v, Number(packed & 0xffff_ffffn), Number(packed >> 32n)]).toEqual([v, ...oracle.rsqrt(v)])
  }
})

test('log2q', () => {
  for (const n of numbers(2 ** 32, 20_000)) {
    if (n >= 1) expect([n, kernels.log2q(n) >>> 0]).toEqual([n, oracle.log2q(n)])
  }
})
