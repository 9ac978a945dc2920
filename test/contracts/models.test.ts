import { findVoidLeaf } from '@apus/shared/dispute'
import { merkleLeaf } from '@apus/shared/hashing'
import { bundleLayout, decodeManifest, promptTokensRoot } from '@apus/shared/machine'
import type { ModelId } from '@apus/shared/protocol'
import { describe, expect, it } from 'vitest'
import { merklePath } from '../../shared/src/hashing/merkle.ts'
import { APUS, addressOf, type Outcome } from '../support/contracts.ts'
import {
  type Cast,
  commitAll,
  HONEST,
  LIE,
  type Miner,
  revealAll,
  SEAT_PRICE,
  seated,
  setUp,
  submit,
  tick,
} from '../support/contracts-cast.ts'
import { AWKWARD_SHAPES, MemoryBundle, randomBundle } from '../support/machine/random-model.ts'

const MINUTE = 60_000
const LISTING_BOND = 100n * APUS
const PROVER = addressOf('who looked')

const GOOD = randomBundle({ name: 'listed', heads: 1, context: 4096 }, 1)
const LAYOUT = bundleLayout(decodeManifest(GOOD.leaf(0)))
const BAD_LEAF = LAYOUT.layers[0]!.o.first

/** The bundle with one leaf changed: still well-formed, but -128 is no weight. */
const BAD = new MemoryBundle(
  GOOD.leaves.map((leaf, i) => {
    if (i !== BAD_LEAF) return leaf
    const changed = leaf.slice()
    changed[0] = 0x80
    return changed
  }),
)

const base64 = (bytes: Uint8Array): string => Buffer.from(bytes).toString('base64')

function leafOf(bundle: MemoryBundle, index: number) {
  const leaves = bundle.leaves.map(leaf => merkleLeaf('apus.machine.1/bundle', leaf))
  return { leaf: base64(bundle.leaf(index)), path: base64(Buffer.concat(merklePath(leaves, index))) }
}

const voidModel = (cast: Cast, bundle: MemoryBundle, index: number, proof: unknown): Promise<Outcome> =>
  cast.world.send(
    PROVER,
    cast.world.network,
    'Void-Model',
    { Model: bundle.root, Leaf: String(index) },
    JSON.stringify(proof),
  )

const submitTo = (cast: Cast, bundle: MemoryBundle) =>
  submit(cast, { 'X-Model': bundle.root, 'X-Prompt-Tokens': promptTokensRoot([1, 2, 3]) })

/** A job of which the first seat revealed another result than the others. */
async function held(cast: Cast, bundle: MemoryBundle): Promise<{ job: string; liar: Miner; rest: Miner[] }> {
  const job = await submitTo(cast, bundle)
  await tick(cast)
  const [liar] = seated(cast, job) as [Miner]
  await liar.commit(job, LIE)
  await commitAll(cast, job)
  await liar.reveal(job, LIE)
  await revealAll(cast, job)
  expect(cast.world.job(job).state).toBe('held')
  const rest = cast.world
    .job(job)
    .seats.map(s => String(s.miner))
    .filter(m => m !== liar.address)
  return { job, liar, rest: cast.miners.filter(m => rest.includes(m.address)) }
}

const PROMPT = Buffer.from(Uint32Array.of(1, 2, 3).buffer)
const accuse = (cast: Cast, job: string, challenger: string, accused: Miner): Promise<Outcome> =>
  cast.world.send(
    challenger,
    cast.world.network,
    'Open-Dispute',
    { Job: job, Accused: accused.address, Position: '1' },
    JSON.stringify({ prompt: { count: 1, leaf: base64(PROMPT), path: '' } }),
  )

async function enrich(cast: Cast, address: string, units: bigint): Promise<void> {
  const { world, requester } = cast
  await world.send(requester, world.token, 'Transfer', { Recipient: address, Quantity: String(units) })
  await world.pay(address, units, 'Deposit')
}

/** What a miner has here, all of it free. */
function worthOf({ world }: Cast, address: string): bigint {
  const { stake, locked } = world.miner(address)
  expect(locked).toBe('0')
  return BigInt(stake) + world.account(address)
}

describe('a model whose bundle the machine does not allow', () => {
  it('is void by one leaf: jobs and disputes end with all money back, the lister’s bond is lost', async () => {
    const cast = await setUp({ bundle: BAD, miners: 6, purse: 50n * APUS })
    const { world, lister, requester } = cast
    const whole = world.balance(requester)
    const waiting = await submitTo(cast, BAD)
    const agreed = await submitTo(cast, BAD)
    await commitAll(cast, agreed)
    await revealAll(cast, agreed)
    expect(world.job(agreed).state).toBe('agreed')
    const { job, liar, rest } = await held(cast, BAD)
    const committed = await submitTo(cast, BAD)
    await tick(cast)
    await (seated(cast, committed)[0] as Miner).commit(committed)
    const challenger = addressOf('challenger')
    await enrich(cast, challenger, 100n * APUS)
    const opened = await accuse(cast, job, challenger, liar)
    const other = await accuse(cast, job, rest[0]!.address, liar)
    expect([opened.code, other.code]).toEqual([undefined, undefined])

    expect((await voidModel(cast, BAD, BAD_LEAF, leafOf(GOOD, BAD_LEAF))).code).toBe('wrong-path')
    expect((await voidModel(cast, BAD, BAD_LEAF + 1, leafOf(BAD, BAD_LEAF))).code).toBe('wrong-path')
    expect((await voidModel(cast, BAD, 1, leafOf(BAD, 1))).code).toBe('not-proven')
    expect((await voidModel(cast, BAD, BAD.leaves.length, leafOf(BAD, 1))).code).toBe('bad-tag')
    expect((await voidModel(cast, BAD, BAD_LEAF, [])).code).toBe('bad-data')
    expect((await voidModel(cast, GOOD, BAD_LEAF, leafOf(GOOD, BAD_LEAF))).code).toBe('unknown-model')
    expect((await voidModel(cast, BAD, BAD_LEAF, leafOf(BAD, BAD_LEAF))).code).toBeUndefined()

    expect(world.account(PROVER)).toBe(LISTING_BOND / 2n)
    expect(world.account(lister)).toBe(0n)
    for (const id of [waiting, agreed, job, committed])
      expect(world.job(id)).toMatchObject({ state: 'void', code: 'void-bundle', escrow: '0' })
    expect(world.dispute(opened.id).state).toBe('moot')
    expect(world.dispute(other.id).state).toBe('moot')
    expect(world.account(challenger)).toBe(100n * APUS)
    // What the agreed seats were paid went to the requester's account, the rest back as it came.
    await world.send(requester, world.network, 'Withdraw', { Quantity: String(world.account(requester)) })
    expect(world.balance(requester)).toBe(whole - 100n * APUS)
    for (const { address } of cast.miners) expect(worthOf(cast, address)).toBe(5_000n * APUS)
    expect(world.entry('models', BAD.root)).toBe('')
    const tags = { Model: BAD.root, 'Max-Tokens': '1', Prompt: 'x' }
    expect((await world.send(requester, world.network, 'Submit-Job', tags)).code).toBe('unknown-model')
    expect((await (seated(cast, committed)[0] as Miner).commit(committed)).code).toBe('job-ended')
    expect((await accuse(cast, job, challenger, liar)).code).toBe('job-ended')
  })

  it('ends sixteen of its jobs at a time, the rest by later messages; no job goes on meanwhile', async () => {
    const cast = await setUp({ bundle: BAD, miners: 4, parameters: { drawTimeout: 60 * MINUTE } })
    const { world } = cast
    const { job, liar } = await held(cast, BAD)
    for (const miner of cast.miners) await miner.act('Pause')
    const others: string[] = []
    for (let i = 0; i < 20; i++) others.push(await submitTo(cast, BAD))
    const challenger = addressOf('challenger')
    await enrich(cast, challenger, 1_000n * APUS)
    const ids: string[] = []
    for (let i = 0; i < 20; i++) ids.push((await accuse(cast, job, challenger, liar)).id)
    const open = () =>
      [job, ...others].filter(id => world.job(id).state !== 'void').length +
      ids.filter(id => world.dispute(id).state !== 'moot').length
    expect(open()).toBe(41)
    // Refunds make the token answer, and every message ends sixteen more.
    world.delivering = false
    await voidModel(cast, BAD, BAD_LEAF, leafOf(BAD, BAD_LEAF))
    expect(open()).toBe(41 - 16)
    expect((await voidModel(cast, BAD, BAD_LEAF, leafOf(BAD, BAD_LEAF))).code).toBe('already-void')
    expect(open()).toBe(41 - 32)
    const [late] = ids.filter(id => world.dispute(id).state === 'running')
    const stages = await liar.act('Answer-Stages', { Dispute: late }, '{}')
    expect(stages.code).toBe('unknown-dispute')
    await tick(cast)
    expect(open()).toBe(0)
    await world.deliver()
    expect(world.entry('models', BAD.root)).toBe('')
    expect(world.account(challenger)).toBe(1_000n * APUS)
    expect(world.totals()).toMatchObject({ bonds: '0', escrow: '0' })
    expect(world.miner(liar.address).locked).toBe('0')
  }, 60_000)

  it('keeps a convicted seat convicted', async () => {
    const cast = await setUp({ bundle: BAD, miners: 4, purse: 50n * APUS })
    const { world } = cast
    const { job, liar, rest } = await held(cast, BAD)
    await world.pay(rest[0]!.address, 10n * APUS, 'Deposit')
    await accuse(cast, job, rest[0]!.address, liar)
    await world.pass(11 * MINUTE)
    expect(world.job(job).seats.find(s => s.miner === liar.address)?.slashed).toBe(String(SEAT_PRICE * 25n))
    await voidModel(cast, BAD, BAD_LEAF, leafOf(BAD, BAD_LEAF))
    expect(world.job(job).state).toBe('void')
    expect(worthOf(cast, liar.address)).toBe(5_000n * APUS - SEAT_PRICE * 25n)
    expect(worthOf(cast, rest[0]!.address)).toBe(5_010n * APUS + (SEAT_PRICE * 25n * 3n) / 10n)
  })
})

describe('a listing', () => {
  it('is delisted by its lister only; open jobs run out, then the bond returns', async () => {
    const cast = await setUp({ bundle: GOOD })
    const { world, lister, requester } = cast
    const job = await submitTo(cast, GOOD)
    const delist = (from: string, model = GOOD.root) =>
      world.send(from, world.network, 'Delist-Model', { Model: model }).then(o => o.code)
    expect(await delist(requester)).toBe('not-yours')
    expect(await delist(lister, BAD.root)).toBe('unknown-model')
    expect(await delist(lister)).toBeUndefined()
    expect(await delist(lister)).toBe('unknown-model')
    expect(JSON.parse(world.entry('models', GOOD.root)!)).toMatchObject({
      delisted: true,
      bond: String(LISTING_BOND),
    })
    const refunded = world.received(requester, 'Credit-Notice').length
    await expect(submitTo(cast, GOOD)).rejects.toThrow('not accepted')
    expect(world.received(requester, 'Credit-Notice')[refunded]?.tags['X-Code']).toBe('unknown-model')
    await commitAll(cast, job)
    const [late] = seated(cast, job, ['committed']) as [Miner]
    for (const miner of seated(cast, job, ['committed'])) if (miner !== late) await miner.reveal(job, HONEST)
    await world.pass(32 * MINUTE)
    expect(world.job(job).state).toBe('settled')
    // A late seat may still reveal and be disputed.
    expect(world.account(lister)).toBe(0n)
    await world.pass(62 * MINUTE)
    expect(world.account(lister)).toBe(LISTING_BOND)
    expect(world.entry('models', GOOD.root)).toBe('')
  })

  it('without jobs is over at once, and can be made anew', async () => {
    const cast = await setUp({ bundle: GOOD, miners: 0 })
    const { world, lister } = cast
    await world.send(lister, world.network, 'Delist-Model', { Model: GOOD.root })
    expect(world.account(lister)).toBe(LISTING_BOND)
    expect(world.entry('models', GOOD.root)).toBe('')
    const { listingOf } = await import('../support/listed-bundle.ts')
    const model = { Model: GOOD.root as ModelId, Name: 'again', Class: 'apus-machine-1', 'Base-Price': '1' }
    const tags = { ...model, 'Token-Price': '1', 'Max-Context': '16' }
    const again = await world.send(lister, world.network, 'List-Model', tags, JSON.stringify(listingOf(GOOD)))
    expect(again.code).toBeUndefined()
  })
})

it('the proof that a bundle is void is found by reading it', async () => {
  const numbered = (bundle: MemoryBundle) => bundle.leaves.map((leaf, i) => [i, leaf] as const)
  const pathOf = (bundle: MemoryBundle) => {
    const leaves = bundle.leaves.map(leaf => merkleLeaf('apus.machine.1/bundle', leaf))
    return (leaf: number) => merklePath(leaves, leaf)
  }
  expect(await findVoidLeaf(numbered(GOOD), pathOf(GOOD))).toBeUndefined()
  const found = await findVoidLeaf(numbered(BAD), pathOf(BAD))
  expect(found).toEqual({ leaf: BAD_LEAF, proof: leafOf(BAD, BAD_LEAF) })
  // Segments of the same rows with different shifts: each is allowed alone.
  const wide = randomBundle({ ...AWKWARD_SHAPES[3]!, name: 'wide', context: 4096 }, 3)
  const { down } = bundleLayout(decodeManifest(wide.leaf(0))).layers[0]!
  const second = down.first + 1
  const changed = wide.leaf(second).slice()
  const shift = changed.length - 5 * Math.min(down.tileRows, down.rows)
  changed[shift] = (changed[shift] as number) + 1
  const odd = new MemoryBundle(wide.leaves.map((leaf, i) => (i === second ? changed : leaf)))
  const proof = await findVoidLeaf(numbered(odd), pathOf(odd))
  expect(proof).toEqual({ leaf: second, proof: { ...leafOf(odd, second), first: leafOf(odd, down.first) } })
  const cast = await setUp({ bundle: odd, miners: 0 })
  expect((await voidModel(cast, odd, second, leafOf(odd, second))).code).toBe('not-proven')
  const wrong = { ...proof!.proof, first: leafOf(odd, down.first - 1) }
  expect((await voidModel(cast, odd, second, wrong)).code).toBe('wrong-path')
  expect((await voidModel(cast, odd, second, proof!.proof)).code).toBeUndefined()
  expect(cast.world.entry('models', odd.root)).toBe('')
})
