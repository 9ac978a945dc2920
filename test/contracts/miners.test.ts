import { beforeEach, describe, expect, it } from 'vitest'
import { APUS, addressOf, digestOf } from '../support/contracts.ts'
import {
  type Cast,
  commitAll,
  Miner,
  MODEL,
  peerOf,
  revealAll,
  SIGNATURE,
  setUp,
  submit,
  tick,
} from '../support/contracts-cast.ts'

describe('a miner', () => {
  let cast: Cast
  let miner: Miner
  beforeEach(async () => {
    cast = await setUp({ miners: 4 })
    miner = cast.miners[0]!
  })
  const registration = (changes = {}) => ({
    'Peer-Id': peerOf('new'),
    'Node-Signature': SIGNATURE,
    Expires: String(cast.world.now + 1_000_000),
    ...changes,
  })
  const newcomer = () => new Miner(cast.world, addressOf('newcomer'))

  it('is bound to one peer, and a peer to one wallet', async () => {
    const taken = cast.world.miner(cast.miners[1]!.address).peer!
    expect((await newcomer().act('Register', registration({ 'Peer-Id': taken }))).code).toBe('peer-taken')
    const old = cast.world.miner(miner.address).peer!
    expect((await miner.act('Register', registration())).code).toBeUndefined()
    expect(cast.world.miner(miner.address).peer).toBe(peerOf('new'))
    expect((await newcomer().act('Register', registration({ 'Peer-Id': old }))).code).toBeUndefined()
  })

  it.each([
    ['no peer', { 'Peer-Id': undefined }, 'bad-tag'],
    ['a malformed peer', { 'Peer-Id': '0OIl'.repeat(13) }, 'bad-tag'],
    ['a short signature', { 'Node-Signature': 'abc' }, 'bad-tag'],
    ['an expired binding', { Expires: '5' }, 'binding-expired'],
    ['a wrong time', { Expires: 'never' }, 'bad-tag'],
  ])('cannot register with %s', async (_, changes, code) => {
    expect((await newcomer().act('Register', registration(changes))).code).toBe(code)
  })

  it('is a wallet, never a process', async () => {
    const outcome = await cast.world.push(
      addressOf('process'),
      cast.world.network,
      'Register',
      registration(),
    )
    expect(outcome.code).toBe('wallet-only')
  })

  it('is dropped when its stake does not come', async () => {
    await newcomer().act('Register', registration())
    await cast.world.pass(61 * 60_000)
    expect(cast.world.entry('miners', newcomer().address)).toBe('')
    expect(
      (
        await new Miner(cast.world, addressOf('other')).act(
          'Register',
          registration({ Expires: String(cast.world.now + 5000) }),
        )
      ).code,
    ).toBeUndefined()
    expect(cast.world.miner(miner.address).active).toBe(true)
  })

  it('serves only listed models', async () => {
    expect((await miner.act('Serve', {}, JSON.stringify([addressOf('unknown')]))).code).toBe('unknown-model')
    for (const data of ['', '{', '"x"', '{"a":1}', '["short"]', JSON.stringify([MODEL, MODEL])])
      expect((await miner.act('Serve', {}, data)).code).toBe('bad-data')
    expect(cast.world.miner(miner.address).models).toEqual([MODEL])
    expect((await miner.act('Serve', {}, '[]')).code).toBeUndefined()
    expect(cast.world.miner(miner.address).models).toEqual([])
    expect((await newcomer().act('Serve', {}, '[]')).code).toBe('not-registered')
  })

  it.each([
    ['pauses', 'Pause', {}, ''],
    ['serves nothing', 'Serve', {}, '[]'],
    ['leaves', 'Unregister', {}, ''],
    ['takes its stake back', 'Unstake', { Quantity: String(4_500n * APUS) }, ''],
  ])('is not drawn once it %s', async (_, action, tags, data) => {
    await miner.act(action, tags, data)
    for (let i = 0; i < 3; i++) {
      const id = await submit(cast, { 'X-Redundancy': '3' })
      await tick(cast)
      expect(cast.world.job(id).seats.map(s => s.miner)).not.toContain(miner.address)
    }
  })

  it('is drawn again after Resume', async () => {
    await miner.act('Pause')
    await miner.act('Resume')
    const id = await submit(cast, { 'X-Redundancy': '4' }, 100n * APUS)
    await tick(cast)
    expect(cast.world.job(id).seats).toHaveLength(4)
  })

  it('gets unlocked stake back after the delay, however often it asks', async () => {
    expect((await miner.act('Unstake', { Quantity: String(6_000n * APUS) })).code).toBe('stake-locked')
    await miner.act('Unstake', { Quantity: String(1_000n * APUS) })
    await miner.act('Unstake', { Quantity: String(500n * APUS) })
    expect(cast.world.miner(miner.address).unstaking).toBe(String(1_500n * APUS))
    expect((await miner.act('Unstake', { Quantity: String(3_501n * APUS) })).code).toBe('stake-locked')
    expect(cast.world.account(miner.address)).toBe(0n)
    await cast.world.pass(31 * 60_000)
    expect(cast.world.account(miner.address)).toBe(1_500n * APUS)
    expect(cast.world.miner(miner.address)).toMatchObject({ unstaking: '0', stake: String(3_500n * APUS) })
  })

  it('cannot unstake what a seat locks, and keeps its binding until the locks end', async () => {
    const id = await submit(cast, { 'X-Redundancy': '3' })
    await tick(cast)
    const seat = new Miner(cast.world, cast.world.job(id).seats[0]!.miner)
    const { locked } = cast.world.miner(seat.address)
    expect(BigInt(locked)).toBeGreaterThan(0n)
    expect((await seat.act('Unstake', { Quantity: String(5_000n * APUS) })).code).toBe('stake-locked')
    await seat.act('Unregister')
    expect(cast.world.miner(seat.address).peer).toBeDefined()
    expect(cast.world.miner(seat.address).active).toBe(false)
    await commitAll(cast, id)
    await revealAll(cast, id)
    await cast.world.pass(21 * 60_000)
    expect(cast.world.job(id).state).toBe('settled')
    expect(cast.world.miner(seat.address).peer).toBeUndefined()
    expect(cast.world.account(seat.address)).toBeGreaterThan(0n)
  })

  it('answers questions about itself, its account and its model', async () => {
    const { world } = cast
    const ask = async (action: string, tags = {}) =>
      (await world.send(miner.address, world.network, action, tags)).sent[0]
    expect(JSON.parse((await ask('Miner'))?.data ?? '')).toEqual(world.miner(miner.address))
    expect((await ask('Account'))?.data).toBe('0')
    expect(JSON.parse((await ask('Model', { Model: MODEL }))?.data ?? '')).toMatchObject({ id: MODEL })
    expect((await ask('Miner', { Address: addressOf('nobody') }))?.tags.Code).toBe('not-found')
    expect((await ask('Job', { Job: digestOf('nothing') }))?.tags.Code).toBe('not-found')
  })
})

describe('a model', () => {
  it('is listed once, against a bond, in a known class', async () => {
    const cast = await setUp({ miners: 0 })
    const { world, lister } = cast
    const list = (changes = {}, data = '{}') =>
      world.send(
        lister,
        world.network,
        'List-Model',
        {
          Model: addressOf('other'),
          Name: 'other',
          Class: 'llama.cpp/b1',
          'Base-Price': '0',
          'Token-Price': '5',
          'Max-Context': '128',
          ...changes,
        },
        data,
      )
    expect((await list()).code).toBe('underpaid')
    await world.pay(lister, 100n * APUS, 'Deposit')
    expect((await list({ Model: MODEL })).code).toBe('already-listed')
    expect((await list({ Class: 'something' })).code).toBe('unknown-class')
    expect((await list({ 'Base-Price': '-1' })).code).toBe('bad-tag')
    expect((await list({ 'Max-Context': '0' })).code).toBe('bad-tag')
    expect((await list({ Name: '' })).code).toBe('bad-tag')
    expect((await list({}, 'no json')).code).toBe('bad-data')
    expect((await list({}, `{"a":"${'x'.repeat(33_000)}"}`)).code).toBe('bad-data')
    expect((await list()).code).toBeUndefined()
    expect(world.received(lister, 'Model-Listed')).toHaveLength(2)
    expect(world.account(lister)).toBe(0n)
  })
})
