import { encodeCanonical, merkleLeaf } from '@apus/shared/hashing'
import { bundleLayout, decodeManifest, SHAPE_LIMITS } from '@apus/shared/machine'
import { describe, expect, it } from 'vitest'
import { merklePath } from '../../shared/src/hashing/merkle.ts'
import { BalanceSheet, told } from '../support/balance-sheet.ts'
import { APUS, addressOf } from '../support/contracts.ts'
import {
  BASE_PRICE,
  type Cast,
  CLASS,
  commitAll,
  revealAll,
  SEAT_PRICE,
  setUp,
  submit,
  TOKEN_PRICE,
  tick,
} from '../support/contracts-cast.ts'
import { listingOf } from '../support/listed-bundle.ts'
import { MemoryBundle, randomBundle } from '../support/machine/random-model.ts'

const MINUTE = 60_000
const LISTING_BOND = 100n * APUS
const PRICE = SEAT_PRICE * 3n

const GOOD = randomBundle({ name: 'listed', heads: 1, context: 4096 }, 1)
const BAD_LEAF = bundleLayout(decodeManifest(GOOD.leaf(0))).layers[0]!.o.first
/** -128 is no weight. */
const BAD = new MemoryBundle(
  GOOD.leaves.map((leaf, i) =>
    i === BAD_LEAF ? Uint8Array.from(leaf, (b, at) => (at === 0 ? 0x80 : b)) : leaf,
  ),
)

const prover = addressOf('prover')
const base64 = (bytes: Uint8Array): string => Buffer.from(bytes).toString('base64')
const ask = (cast: Cast, bundle: MemoryBundle, redundancy = 2) =>
  submit(cast, { 'X-Model': bundle.root, 'X-Redundancy': String(redundancy) }, PRICE)

const sheetOf = (cast: Cast, honest: readonly string[] = cast.miners.map(m => m.address)) =>
  new BalanceSheet(cast.world, { hostile: [cast.lister], honest, customers: [cast.requester] })

describe('a lister of a bundle', () => {
  it('with a leaf outside the domain loses its bond, and everybody gets back what they paid', async ({
    annotate,
  }) => {
    const cast = await setUp({ bundle: BAD, miners: 5 })
    const { world } = cast
    const sheet = sheetOf(cast, [...cast.miners.map(m => m.address), prover])
    const answered = await ask(cast, BAD)
    await commitAll(cast, answered)
    await revealAll(cast, answered)
    const seated = await ask(cast, BAD)
    await tick(cast)
    const drawn = await ask(cast, BAD)
    const leaves = BAD.leaves.map(leaf => merkleLeaf('apus.machine.1/bundle', leaf))
    const proof = {
      leaf: base64(BAD.leaf(BAD_LEAF)),
      path: base64(Buffer.concat(merklePath(leaves, BAD_LEAF))),
    }
    const tags = { Model: BAD.root, Leaf: String(BAD_LEAF) }
    const sent = await world.send(prover, world.network, 'Void-Model', tags, JSON.stringify(proof))
    expect(sent.code).toBeUndefined()
    await world.pass(21 * MINUTE)
    for (const job of [answered, seated, drawn])
      expect(world.job(job)).toMatchObject({ state: 'void', code: 'void-bundle' })
    const figures = sheet.close()
    expect(figures.hostile).toBe(-LISTING_BOND)
    expect(sheet.gain(prover)).toBe(LISTING_BOND / 2n)
    await annotate(told(figures))
  })

  it('with a leaf that nobody can fetch finds no miner that serves it: jobs expire, all is paid back', async ({
    annotate,
  }) => {
    // The manifest is proven, the rest of the leaves lies with the lister alone: honest miners cannot verify it.
    const cast = await setUp({ bundle: GOOD, miners: 4 })
    const { world } = cast
    for (const miner of cast.miners) await miner.act('Serve', {}, '[]')
    const sheet = sheetOf(cast)
    const job = await ask(cast, GOOD)
    await world.pass(11 * MINUTE)
    expect(world.job(job)).toMatchObject({
      state: 'expired',
      code: 'too-few-miners',
      refunded: String(PRICE),
    })
    const figures = sheet.close()
    expect(figures.hostile).toBe(0n)
    expect(sheet.gain(cast.requester)).toBe(0n)
    await annotate(told(figures))
  })

  it.each([
    ['more layers', { layers: SHAPE_LIMITS.layers + 1 }],
    ['wider residuals', { width: SHAPE_LIMITS.width + 1 }],
    ['a longer context', { context: SHAPE_LIMITS.context + 1 }],
    ['more tokens', { vocab: SHAPE_LIMITS.vocab + 1 }],
    ['more operations in a layer', { heads: 64, kvHeads: 64, headSize: 128, context: SHAPE_LIMITS.context }],
  ])('with %s than the machine can prove is refused, its money untouched', async (_, change) => {
    const cast = await setUp({ miners: 0 })
    const { world, lister } = cast
    await world.pay(lister, LISTING_BOND, 'Deposit')
    const sheet = sheetOf(cast)
    const manifest = encodeCanonical({ ...decodeManifest(GOOD.leaf(0)), ...change })
    expect(() => decodeManifest(manifest)).toThrow()
    const bundle = new MemoryBundle([manifest, ...GOOD.leaves.slice(1)])
    const tags = {
      Model: bundle.root,
      Name: 'too large',
      Class: CLASS,
      'Base-Price': String(BASE_PRICE),
      'Token-Price': String(TOKEN_PRICE),
      'Max-Context': '128',
    }
    const listed = await world.send(
      lister,
      world.network,
      'List-Model',
      tags,
      JSON.stringify(listingOf(bundle)),
    )
    expect(listed.code).toBe('bad-manifest')
    expect(sheet.close().hostile).toBe(0n)
    expect(world.account(lister)).toBe(LISTING_BOND)
  })
})
