import { beforeEach, describe, expect, it } from 'vitest'
import { APUS, addressOf, DEPLOYER, UNIT, World } from '../support/contracts.ts'
import { HONEST, JOB_TAGS, PRICE, seated, setUp, submit, tick } from '../support/contracts-cast.ts'

const anyone = addressOf('anyone')
const list = (entries: readonly (readonly [string, string])[]) =>
  entries.map(([name, value]) => ({ name, value }))

describe('the guard', () => {
  let world: World
  beforeEach(async () => {
    world = await World.create({ balances: { [anyone]: 10n * APUS } })
    await world.pay(anyone, 5n * APUS, 'Deposit')
  })

  const withdraw = (extra: readonly (readonly [string, string])[]) =>
    world.raw({
      from: anyone,
      process: world.network,
      tags: list([['Action', 'Withdraw'], ['Quantity', '1'], ...extra]),
    })

  it.each([
    ['Timestamp', '9999999999999'],
    ['timestamp', '9999999999999'],
    ['block-height', '1'],
    ['Block_Height', '1'],
    ['Id', 'x'],
    ['NONCE', '1'],
    ['Cron', 'true'],
    ['Module', 'x'],
    ['hash_chain', 'x'],
    ['Epoch', '1'],
    ['Forwarded_By', 'x'],
  ])('refuses the reserved tag %s', async (name, value) => {
    const before = JSON.parse(String(world.published.network.clock)) as { network: number }
    expect((await withdraw([[name, value]])).code).toBe('bad-tags')
    expect(world.account(anyone)).toBe(5n * APUS)
    const clock = JSON.parse(String(world.published.network.clock)) as { network: number }
    expect(clock.network).toBe(before.network + 1)
  })

  it.each([['Quantity'], ['quantity'], ['QUANTITY'], ['action']])('refuses a second %s', async name => {
    expect((await withdraw([[name, '5']])).code).toBe('bad-tags')
    expect(world.account(anyone)).toBe(5n * APUS)
  })

  it('refuses Type=Process followed by Type=Message, whatever other tags there are', async () => {
    const outcome = await world.raw({
      from: anyone,
      process: world.network,
      tags: list([
        ['Type', 'Process'],
        ['Timestamp', '9999999999999'],
        ['Id', world.network],
        ['Hash-Chain', 'x'],
        ['Type', 'Message'],
        ['Action', 'Withdraw'],
        ['Quantity', '1'],
      ]),
    })
    expect(outcome.code).toBe('bad-tags')
    expect(world.account(anyone)).toBe(5n * APUS)
  })

  it.each([DEPLOYER, anyone])('lets nobody evaluate code or take the process over: %s', async from => {
    const code = "Owner = nil; require('apus.state.state').accounts = {}"
    for (const id of [undefined, world.network]) {
      const evaluated = await world.raw({
        from,
        process: world.network,
        ...(id ? { id } : {}),
        tags: { Action: 'Eval' },
        data: code,
      })
      expect(evaluated.code).toBe('unknown-action')
    }
    const forged = await world.raw({
      from,
      process: world.network,
      tags: list([
        ['Id', world.network],
        ['Action', 'Eval'],
      ]),
      data: code,
    })
    expect(forged.code).toBe('bad-tags')
    await world.send(anyone, world.network, 'Info')
    const info = world.received(anyone, 'Info-Response').at(-1)
    expect(info?.tags['Owner-Text']).toMatch(/^nobody/)
    expect(world.account(anyone)).toBe(5n * APUS)
  })

  it('survives broken JSON under Content-Type application/json', async () => {
    const outcome = await world.raw({
      from: anyone,
      process: world.network,
      tags: { Action: 'Withdraw', Quantity: '1', 'Content-Type': 'application/json' },
      data: '{broken',
    })
    expect(outcome.error).toBeUndefined()
    expect(world.account(anyone)).toBe(5n * APUS - 1n)
  })

  it('takes From-Process only from its authority', async () => {
    const forged = { Action: 'Credit-Notice', Sender: anyone, Quantity: '1000', 'X-Action': 'Deposit' }
    await world.raw({ from: world.token, owner: anyone, process: world.network, tags: forged })
    await world.send(anyone, world.network, 'Credit-Notice', forged)
    await world.push(addressOf('foreign-token'), world.network, 'Credit-Notice', forged)
    expect(world.account(anyone)).toBe(5n * APUS)
    expect(world.totals().held).toBe(String(5n * APUS))
  })

  it('never answers to Reply-To', async () => {
    const outcome = await world.send(anyone, world.network, 'Info', { 'Reply-To': world.token })
    expect(outcome.sent.map(m => m.to)).toEqual([anyone])
  })

  it('does not act on an assignment of a message meant for another process', async () => {
    await world.raw({
      from: anyone,
      process: world.network,
      target: addressOf('elsewhere'),
      tags: { Action: 'Withdraw', Quantity: '1' },
    })
    expect(world.account(anyone)).toBe(5n * APUS)
  })

  it('does not answer errors and notices, so that processes cannot talk in circles', async () => {
    for (const action of ['Error', 'Debit-Notice', 'Info-Response', 'Transfer-Error']) {
      expect((await world.push(addressOf('process'), world.network, action)).sent).toEqual([])
      expect((await world.push(addressOf('process'), world.token, action)).sent).toEqual([])
    }
  })

  it.each([
    ['backwards', -1_000_000],
    ['a year ahead', 365 * 86_400_000],
  ])('moves network time by two minutes at most when a timestamp is %s', async (_, shift) => {
    const clock = () => (JSON.parse(String(world.published.network.clock)) as { network: number }).network
    const before = clock()
    const timestamp = world.now + shift
    await world.raw({ from: anyone, process: world.network, tags: { Action: 'Tick' }, timestamp })
    expect(clock() - before).toBe(shift < 0 ? 0 : 120_000)
  })
})

describe('a refused message', () => {
  it('draws the seats all the same, so that nobody can choose the hash chain', async () => {
    const cast = await setUp()
    const id = await submit(cast)
    await cast.world.raw({
      from: cast.requester,
      process: cast.world.network,
      tags: list([
        ['Hash-Chain', 'chosen'],
        ['Action', 'Tick'],
      ]),
    })
    const job = cast.world.job(id)
    expect(job.state).toBe('seated')
    expect(job.seats).toHaveLength(3)
  })

  it('draws by the real hash chain, whoever sent the message', async () => {
    const draws = await Promise.all(
      [false, true].map(async forged => {
        const cast = await setUp()
        const id = await submit(cast)
        const tags = forged
          ? list([
              ['Action', 'Tick'],
              ['Epoch', '1'],
            ])
          : { Action: 'Tick' }
        await cast.world.raw({ from: cast.requester, process: cast.world.network, tags })
        return cast.world.job(id).seats.map(s => s.miner)
      }),
    )
    expect(draws[0]).toEqual(draws[1])
  })

  it('cannot be spoken by a process that no authority vouches for', async () => {
    const cast = await setUp()
    const id = await submit(cast)
    await tick(cast)
    const [seat] = seated(cast, id)
    const tags = {
      Action: 'Commit',
      Job: id,
      'Output-Commitment': addressOf('c'),
      'Prompt-Tokens': addressOf('p'),
    }
    await cast.world.raw({ from: seat!.address, owner: cast.requester, process: cast.world.network, tags })
    expect(cast.world.job(id).seats.every(s => s.state === 'drawn')).toBe(true)
    expect((await seat!.commit(id, HONEST)).code).toBeUndefined()
    expect(UNIT).not.toBe(cast.requester)
    expect(JOB_TAGS['X-Model']).toBeDefined()
    expect(PRICE > 0n).toBe(true)
  })
})
