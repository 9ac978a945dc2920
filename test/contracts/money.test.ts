import { beforeEach, describe, expect, it } from 'vitest'
import { APUS, addressOf, World } from '../support/contracts.ts'
import { MODEL, setUp, submit } from '../support/contracts-cast.ts'

const alice = addressOf('alice')
const bob = addressOf('bob')

describe('money', () => {
  let world: World
  beforeEach(async () => {
    world = await World.create({ balances: { [alice]: 100n * APUS } })
  })
  const refunds = () => world.received(alice, 'Credit-Notice').filter(m => m.tags['X-Action'] === 'Refund')

  it('is deposited and withdrawn', async () => {
    await world.pay(alice, 10n * APUS, 'Deposit')
    expect(world.account(alice)).toBe(10n * APUS)
    expect(world.received(alice, 'Deposited')[0]?.tags).toMatchObject({ Quantity: String(10n * APUS) })
    await world.send(alice, world.network, 'Withdraw', { Quantity: String(4n * APUS), Recipient: bob })
    expect(world.account(alice)).toBe(6n * APUS)
    expect(world.balance(bob)).toBe(4n * APUS)
    expect(world.totals().pending).toBe('0')
    expect(world.received(alice, 'Withdrawn')[0]?.tags).toMatchObject({ Recipient: bob })
  })

  it.each([
    ['Nonsense', 'unknown-action'],
    ['deposit', 'unknown-action'],
    ['Submit-Job', 'bad-tag'],
  ])('comes back in full when X-Action is %s', async (action, code) => {
    await world.pay(alice, 3n * APUS, action, { 'X-Reference': 'r1' })
    expect(world.balance(alice)).toBe(100n * APUS)
    expect(refunds()[0]?.tags).toMatchObject({
      'X-Code': code,
      'X-Reference': 'r1',
      Quantity: String(3n * APUS),
    })
    expect(world.totals().held).toBe('0')
  })

  it('comes back in full without any X-Action', async () => {
    await world.send(alice, world.token, 'Transfer', { Recipient: world.network, Quantity: '5' })
    expect(refunds()[0]?.tags['X-Code']).toBe('unknown-action')
    expect(world.balance(alice)).toBe(100n * APUS)
  })

  it('is credited once though the notice comes twice, with the same id or signed anew', async () => {
    world.delivering = false
    await world.pay(alice, 10n * APUS, 'Deposit')
    const notice = world.flying.find(m => m.tags.Action === 'Credit-Notice')
    if (!notice) throw new Error('no notice')
    await world.deliver()
    const tags = { 'From-Process': world.token, ...notice.tags }
    const again = { from: world.token, owner: addressOf('messenger'), process: world.network, tags }
    const quiet = [await world.raw(again), await world.raw({ ...again, id: addressOf('signed anew') })]
    for (const outcome of quiet) expect(outcome.sent).toEqual([])
    expect(world.account(alice)).toBe(10n * APUS)
  })

  it('stays pending until the token answers, and returns when the token refuses', async () => {
    await world.pay(alice, 10n * APUS, 'Deposit')
    world.delivering = false
    await world.send(alice, world.network, 'Withdraw', { Quantity: String(4n * APUS) })
    expect(world.totals()).toMatchObject({ pending: String(4n * APUS), accounts: String(6n * APUS) })
    const [transfer] = world.flying.splice(0)
    await world.push(world.token, world.network, 'Transfer-Error', {
      'X-Transfer': transfer?.tags['X-Transfer'],
    })
    expect(world.totals()).toMatchObject({ pending: '0', accounts: String(10n * APUS) })
    await world.push(world.token, world.network, 'Transfer-Error', {
      'X-Transfer': transfer?.tags['X-Transfer'],
    })
    expect(world.account(alice)).toBe(10n * APUS)
  })

  it('is not withdrawn beyond the account, to the network itself, or twice by a repeated message', async () => {
    await world.pay(alice, 10n * APUS, 'Deposit')
    const withdraw = (tags: Record<string, string>) => world.send(alice, world.network, 'Withdraw', tags)
    expect((await withdraw({ Quantity: String(11n * APUS) })).code).toBe('underpaid')
    expect((await withdraw({ Quantity: '0' })).code).toBe('bad-tag')
    expect((await withdraw({ Quantity: '1', Recipient: world.network })).code).toBe('bad-tag')
    expect((await withdraw({ Quantity: '5', Reference: 'w1' })).code).toBeUndefined()
    expect((await withdraw({ Quantity: '5', Reference: 'w1' })).code).toBe('duplicate')
    const message = {
      from: alice,
      process: world.network,
      id: addressOf('same'),
      tags: { Action: 'Withdraw', Quantity: '5' },
    }
    await world.raw(message)
    expect((await world.raw(message)).code).toBe('duplicate')
    expect(world.account(alice)).toBe(10n * APUS - 10n)
  })

  it('lets a refused message be sent again under its reference', async () => {
    const withdraw = () => world.send(alice, world.network, 'Withdraw', { Quantity: '5', Reference: 'w1' })
    expect((await withdraw()).code).toBe('underpaid')
    await world.pay(alice, APUS, 'Deposit')
    expect((await withdraw()).code).toBeUndefined()
  })

  it('refuses an Ethereum sender and gives the money back', async () => {
    const ethereum = `0x${'ab'.repeat(20)}`
    await world.send(alice, world.token, 'Transfer', { Recipient: ethereum, Quantity: '50' })
    await world.pay(ethereum, 50n, 'Deposit')
    expect(world.balance(ethereum)).toBe(50n)
  })

  it('ignores odd X- tags that pretend to be something else', async () => {
    await world.pay(alice, 7n, 'Deposit', {
      'X-Transfer': '1',
      'X-Sender': bob,
      'X-Quantity': '999',
      'X-From': world.token,
      'X-Timestamp': '1',
    })
    expect(world.account(alice)).toBe(7n)
    expect(world.account(bob)).toBe(0n)
  })
})

describe('money in flight', () => {
  it('stays whole in whatever order notices arrive', async () => {
    const cast = await setUp({ miners: 2 })
    const { world, requester } = cast
    world.delivering = false
    await world.pay(requester, 7n, 'Deposit')
    await world.pay(requester, 8n, 'Nonsense')
    await world.pay(requester, 9n, 'Submit-Job', { 'X-Model': MODEL, 'X-Max-Tokens': '1' }, 'hi')
    while (world.flying.length > 0) {
      const [last] = world.flying.splice(-1)
      if (last) await world.deliverOne(last)
    }
    expect(world.totals()).toMatchObject({ pending: '0', accounts: '7' })
    await expect(submit(cast)).rejects.toThrow('not accepted')
  })
})
