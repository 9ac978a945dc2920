import type { Manifest } from '@apus/shared/machine'
import { MAX_PENALTY_WINDOW } from '@apus/shared/protocol'
import { describe, expect, test } from 'vitest'
import { type MemoryPlan, planMemory } from '../../../../../node/src/engine/cpu/memory-plan.ts'
import {
  BLOCK_ROWS,
  type Limits,
  pageBytes,
  SETTINGS_WORDS,
  TILE_BYTES,
  tablePages,
  WINDOW_TOKENS,
} from '../../../../../node/src/engine/cpu/sizes.ts'
import { AWKWARD_SHAPES, manifestOf } from '../../../../support/machine/random-model.ts'
import { Workbench } from './workbench.ts'

const { kernels } = new Workbench()
const SLOTS = 5

test('the window of the threads is that of the protocol', () => {
  expect(WINDOW_TOKENS).toBe(MAX_PENALTY_WINDOW)
})

/** Every area of every shard as [from, to). */
function areas(m: Manifest, plan: MemoryPlan): [number, number][][] {
  const { columns, choosing, sequences } = plan.limits
  const rows = Math.max((m.heads + 2 * m.kvHeads) * m.headSize, 2 * m.hidden)
  const shards = plan.shards.map((s): [number, number][] => [
    [0, Number(kernels.TABLES_END.value)],
    [s.tile, s.tile + TILE_BYTES],
    [s.frequencies, s.frequencies + m.headSize * 4],
    [s.angles, s.angles + columns * m.headSize * 4],
    [s.x, s.x + columns * m.width * 4],
    [s.a8, s.a8 + columns * s.a8Stride],
    [s.rows, s.rows + columns * rows * 4],
    [s.queries, s.queries + columns * m.heads * m.headSize * 2],
    [s.exponents, s.exponents + columns * m.heads * 4],
    [s.attended, s.attended + columns * s.attendedStride],
    [s.pageTables, s.pageTables + sequences * tablePages(plan.limits) * 4],
    ...s.scratch.map((at): [number, number] => [at, at + 64 * columns * 3 + 16]),
    [s.slots, s.slots + SLOTS * s.slotBytes],
  ])
  const tensor = (shard: number, t: { address: number; rows: number; n: number }) => {
    const wide = Math.ceil(t.n / 32) * 32
    const bytes = Math.ceil(t.rows / BLOCK_ROWS) * kernels.blockBytes(wide)
    shards[shard]?.push([t.address, t.address + bytes])
  }
  tensor(plan.embedding.shard, plan.embedding)
  if (!m.tied) tensor(plan.head.shard, plan.head.output)
  for (const layer of plan.layers) {
    for (const t of [layer.qkv, layer.o, layer.gateUp, layer.down]) tensor(layer.shard, t)
    shards[layer.shard]?.push([layer.firstGains, layer.firstGains + m.width * 4])
    shards[layer.shard]?.push([layer.secondGains, layer.secondGains + m.width * 4])
  }
  const { gains, settings, logits, masses } = plan.head
  shards[plan.head.shard]?.push(
    [gains, gains + m.width * 4],
    [settings, settings + choosing * SETTINGS_WORDS * 4],
    [logits, logits + choosing * m.vocab * 4],
    ...masses.map((at): [number, number] => [at, at + m.vocab * 4]),
  )
  return shards
}

describe('a memory plan', () => {
  const limits: Limits = { columns: 7, choosing: 3, sequences: 4, positions: 300, threads: 3 }
  for (const shape of AWKWARD_SHAPES) {
    const m = { ...manifestOf(shape), layers: 4 }
    const one = planMemory(m, limits, SLOTS, kernels)
    const whole = one.shards[0]?.bytes ?? 0

    test(`of "${shape.name}" keeps all areas apart and within their memory`, () => {
      for (const limit of [whole, whole - 65]) {
        const plan = planMemory(m, limits, SLOTS, kernels, limit)
        expect(plan.shards.length === 1).toBe(limit === whole)
        for (const [i, shard] of areas(m, plan).entries()) {
          const sorted = shard.sort((a, b) => a[0] - b[0])
          for (const [j, [from]] of sorted.entries()) {
            if (j > 0) expect(from).toBeGreaterThanOrEqual(sorted[j - 1]![1])
          }
          expect(sorted.at(-1)![1]).toBeLessThanOrEqual(plan.shards[i]!.bytes)
          expect(plan.shards[i]!.bytes).toBeLessThanOrEqual(limit + 64)
        }
      }
    })

    test(`of "${shape.name}" gives every layer room for its pages`, () => {
      const plan = planMemory(m, limits, SLOTS, kernels, whole - 65)
      const perLayer = m.kvHeads * 2 * pageBytes(m)
      for (const [i, { slotBytes }] of plan.shards.entries()) {
        expect(slotBytes).toBe(plan.layers.filter(layer => layer.shard === i).length * perLayer)
      }
    })
  }

  test('a part that no memory holds is refused', () => {
    const m = manifestOf({ name: 'large', width: 1024, vocab: 100_000 })
    expect(() => planMemory(m, limits, SLOTS, kernels, 50_000_000)).toThrow(
      expect.objectContaining({ code: 'out-of-memory' }),
    )
  })
})
