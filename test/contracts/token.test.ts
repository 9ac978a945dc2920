import { beforeEach, describe, expect, it } from 'vitest'
import { APUS, addressOf, type Sent, SUPPLY, World } from '../support/contracts.ts'

const alice = addressOf('alice')
const bob = addressOf('bob')

describe('the token', () => {
  let world: World
  beforeEach(async () => {
    world = await World.create({ balances: { [alice]: 100n * APUS } })
  })
  const call = (action: string, tags = {}, data = '') => world.send(alice, world.token, action, tags, data)

  it('says what it is', async () => {
    const [info] = (await call('Info')).sent
    expect(info?.tags).toMatchObject({
      Action: 'Info-Response',
      Ticker: 'APUS',
      Denomination: '12',
      Supply: String(SUPPLY),
    })
    const [supply] = (await call('Total-Supply')).sent
    expect(supply?.data).toBe(String(SUPPLY))
  })

  it('transfers with notices that carry X- tags and data, and nothing else', async () => {
    const outcome = await call(
      'Transfer',
      { Recipient: bob, Quantity: '7', 'X-Note': 'hello', x_other: '1', Odd: '2' },
      'some data',
    )
    const [debit, credit] = outcome.sent
    expect(debit).toMatchObject({
      to: alice,
      tags: { Action: 'Debit-Notice', Recipient: bob, Quantity: '7' },
    })
    expect(credit).toMatchObject({ to: bob, data: 'some data' })
    expect(credit?.tags).toMatchObject({
      Action: 'Credit-Notice',
      Sender: alice,
      'X-Note': 'hello',
      'X-Other': '1',
    })
    expect(credit?.tags.Odd).toBeUndefined()
    expect(world.balance(bob)).toBe(7n)
    expect(world.balance(alice)).toBe(100n * APUS - 7n)
  })

  it('sends no notices for a Cast', async () => {
    expect((await call('Transfer', { Recipient: bob, Quantity: '7', Cast: 'true' })).sent).toEqual([])
    expect(world.balance(bob)).toBe(7n)
  })

  it('keeps the balance when one pays oneself', async () => {
    await call('Transfer', { Recipient: alice, Quantity: '7' })
    expect(world.balance(alice)).toBe(100n * APUS)
  })

  it.each([
    ['nothing', { Recipient: bob }, 'bad-tag'],
    ['zero', { Recipient: bob, Quantity: '0' }, 'bad-tag'],
    ['a negative quantity', { Recipient: bob, Quantity: '-5' }, 'bad-tag'],
    ['a fraction', { Recipient: bob, Quantity: '1.5' }, 'bad-tag'],
    ['an exponent', { Recipient: bob, Quantity: '1e3' }, 'bad-tag'],
    ['leading zeros', { Recipient: bob, Quantity: '007' }, 'bad-tag'],
    ['hexadecimal', { Recipient: bob, Quantity: '0x10' }, 'bad-tag'],
    ['more than 2^256', { Recipient: bob, Quantity: '9'.repeat(90) }, 'bad-tag'],
    ['more than there is', { Recipient: bob, Quantity: String(101n * APUS) }, 'insufficient-balance'],
    ['no recipient', { Quantity: '1' }, 'bad-tag'],
    ['a short recipient', { Recipient: 'bob', Quantity: '1' }, 'bad-tag'],
  ])('refuses to transfer %s', async (_, tags, code) => {
    const outcome = await call('Transfer', tags)
    expect(outcome.code).toBe(code)
    expect(outcome.sent[0]?.tags).toMatchObject({ Action: 'Transfer-Error', 'Message-Id': outcome.id })
    expect(world.balance(alice)).toBe(100n * APUS)
  })

  it('transfers to Ethereum addresses', async () => {
    const ethereum = `0x${'aB'.repeat(20)}`
    await call('Transfer', { Recipient: ethereum, Quantity: '7' })
    expect(world.balance(ethereum)).toBe(7n)
  })

  it('transfers a batch wholly or not at all', async () => {
    const good = await call('Batch-Transfer', {}, `${bob},5\n${addressOf('carol')},6\n`)
    expect(good.sent.map(m => m.tags.Action)).toEqual([
      'Batch-Debit-Notice',
      'Credit-Notice',
      'Credit-Notice',
    ])
    expect(world.balance(bob)).toBe(5n)
    for (const data of [
      `${bob},5\nbad`,
      `${bob},0`,
      '',
      `${bob},5,6`,
      `${bob},-1`,
      `${bob},${101n * APUS}`,
    ]) {
      const bad = await call('Batch-Transfer', {}, data)
      expect(bad.sent.map(m => m.tags.Action)).toEqual(['Transfer-Error'])
    }
    expect(world.balance(bob)).toBe(5n)
    expect(world.balance(alice)).toBe(100n * APUS - 11n)
  })

  it('burns what its holder burns', async () => {
    const outcome = await call('Burn', { Quantity: '40', 'X-Transfer': '1' })
    expect(outcome.sent[0]?.tags).toMatchObject({ Action: 'Burn-Notice', Quantity: '40', 'X-Transfer': '1' })
    expect(world.balance(alice)).toBe(100n * APUS - 40n)
    const [supply] = (await call('Total-Supply')).sent
    expect(supply?.data).toBe(String(SUPPLY - 40n))
    expect((await call('Burn', { Quantity: String(200n * APUS) })).code).toBe('insufficient-balance')
  })

  it('answers balances, one and page by page', async () => {
    await call('Transfer', { Recipient: bob, Quantity: '7' })
    const [mine] = (await call('Balance')).sent
    expect(mine?.data).toBe(String(100n * APUS - 7n))
    const [his] = (await call('Balance', { Recipient: bob })).sent
    expect(his?.tags).toMatchObject({ Account: bob, Balance: '7', Ticker: 'APUS' })
    const [none] = (await call('Balance', { Recipient: addressOf('nobody') })).sent
    expect(none?.data).toBe('0')
    const found: Record<string, string> = {}
    for (let cursor: string | undefined = ''; cursor !== undefined; ) {
      const [page]: readonly Sent[] = (
        await call('Balances', { Limit: '1', ...(cursor ? { Cursor: cursor } : {}) })
      ).sent
      Object.assign(found, JSON.parse(page?.data ?? ''))
      cursor = page?.tags['Next-Cursor']
    }
    expect(Object.values(found).reduce((sum, units) => sum + BigInt(units), 0n)).toBe(SUPPLY)
    expect(found[bob]).toBe('7')
  })

  it('takes a message of a process once, though its messenger signs it twice', async () => {
    const process = addressOf('a-process')
    await call('Transfer', { Recipient: process, Quantity: '10' })
    const tags = { Recipient: bob, Quantity: '3', Reference: '1' }
    await world.push(process, world.token, 'Transfer', tags)
    expect((await world.push(process, world.token, 'Transfer', tags)).sent).toEqual([])
    expect(world.balance(bob)).toBe(3n)
    await world.push(process, world.token, 'Transfer', { ...tags, Reference: '2' })
    expect(world.balance(bob)).toBe(6n)
  })

  it('takes a message with the same id once', async () => {
    const message = {
      from: alice,
      process: world.token,
      id: addressOf('same'),
      tags: { Action: 'Transfer', Recipient: bob, Quantity: '3' },
    }
    await world.raw(message)
    await world.raw(message)
    expect(world.balance(bob)).toBe(3n)
  })

  it('refuses forged and doubled tags', async () => {
    const tags = [
      ['Action', 'Transfer'],
      ['Recipient', bob],
      ['Quantity', '1'],
      ['quantity', '50'],
    ].map(([name, value]) => ({ name: String(name), value: String(value) }))
    expect((await world.raw({ from: alice, process: world.token, tags })).code).toBe('bad-tags')
    expect((await call('Mint', { Quantity: '1' })).code).toBe('unknown-action')
    expect(world.balance(bob)).toBe(0n)
  })
})
