import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { BalanceSheet, told } from '../support/balance-sheet.ts'
import { APUS, addressOf, DEPLOYER, type Outcome, type Tags, UNIT } from '../support/contracts.ts'
import {
  type Cast,
  commitAll,
  revealAll,
  SEAT_PRICE,
  seated,
  setUp,
  submit,
  tick,
  WAGE,
} from '../support/contracts-cast.ts'

const MINUTE = 60_000
const PURSE = 50n * APUS
const forger = addressOf('forger')
const foreign = addressOf('foreign-token')

interface Scene {
  readonly cast: Cast
  /** A job whose seats are drawn and have not committed. */
  readonly job: string
}

/** What a forger sends while somebody else's job runs; the code that it gets, if it gets an answer at all. */
interface Forgery {
  readonly send: (scene: Scene) => Promise<Outcome>
  readonly code?: string
}

const raw = (
  { cast: { world } }: Scene,
  tags: Tags | readonly (readonly [string, string])[],
  parts: {
    readonly from?: string
    readonly owner?: string
    readonly id?: string
    readonly data?: string
  } = {},
  process = world.network,
): Promise<Outcome> =>
  world.raw({
    from: forger,
    process,
    tags: Array.isArray(tags) ? tags.map(([name, value]) => ({ name, value })) : (tags as Tags),
    ...parts,
  })

/** A credit that no token paid. */
const CREDIT = { Action: 'Credit-Notice', Sender: forger, Quantity: String(APUS), 'X-Action': 'Deposit' }
const asProcess = (...forged: readonly (readonly [string, string])[]) => ({
  send: (scene: Scene) =>
    raw(scene, [['Type', 'Process'], ...forged, ['Type', 'Message'], ['Action', 'Tick']]),
  code: 'bad-tags',
})
const EVAL = "Owner = nil; require('apus.state.state').accounts = {}"

const forgeries: Readonly<Record<string, Forgery>> = {
  'Type=Process first and a forged Timestamp': asProcess(['Timestamp', '9999999999999']),
  'Type=Process first and a forged Id': asProcess(['Id', addressOf('network-process')]),
  'Type=Process first and a forged Hash-Chain': asProcess(['Hash-Chain', 'chosen']),
  'Type=Process alone': { send: scene => raw(scene, { Type: 'Process', Action: 'Tick' }), code: 'bad-tags' },
  'a take-over with the id of the process, as if Owner were nil': {
    send: scene => raw(scene, { Action: 'Eval' }, { id: scene.cast.world.network, data: EVAL }),
    code: 'unknown-action',
  },
  'an Owner and a From of its own': {
    send: scene =>
      raw(scene, { Action: 'Eval', owner: forger, from: scene.cast.world.network }, { data: EVAL }),
    code: 'bad-tags',
  },
  'an Eval after the owner was renounced, in the name of that owner': {
    send: scene => raw(scene, { Action: 'Eval' }, { from: ownerOf(scene.cast), owner: forger, data: EVAL }),
  },
  'an Eval of the deployer': {
    send: scene => raw(scene, { Action: 'Eval' }, { from: DEPLOYER, data: EVAL }),
    code: 'unknown-action',
  },
  'Content-Type JSON with broken Data': {
    send: scene =>
      raw(
        scene,
        { Action: 'Withdraw', Quantity: '1', 'Content-Type': 'application/json' },
        { data: '{broken' },
      ),
  },
  'Content-Type JSON with broken Data to the token': {
    send: scene =>
      raw(
        scene,
        { Action: 'Transfer', Recipient: forger, Quantity: '1', 'content-type': 'application/json' },
        { data: '{"x":' },
        scene.cast.world.token,
      ),
  },
  'a Transfer with X- tags that pretend to be the scheduler and the token': {
    send: ({ cast: { world } }) =>
      world.pay(forger, 7n, 'Deposit', {
        'X-Timestamp': '9999999999999',
        'X-From': world.token,
        'X-Sender': 'somebody',
        'X-Quantity': String(10n ** 20n),
        'X-Transfer': '1',
      }),
  },
  'a Transfer with X- tags whose spelling folds into others': {
    send: ({ cast: { world } }) =>
      world.pay(forger, 7n, 'Deposit', { 'X-action': 'Stake', 'x-ACTION': 'Submit-Job' }),
    code: 'bad-tags',
  },
  'a Transfer with X- tags too many to forward': {
    send: ({ cast: { world } }) =>
      world.pay(
        forger,
        7n,
        'Deposit',
        Object.fromEntries(Array.from({ length: 40 }, (_, i) => [`X-Odd-${i}`, 'x'])),
      ),
    code: 'bad-tag',
  },
  'Reply-To = TOKEN on a question whose answer is a Transfer': {
    send: scene =>
      raw(scene, {
        Action: 'Info',
        'Reply-To': scene.cast.world.token,
        'X-Reference': 'Transfer',
        'X-Action': 'Transfer',
      }),
  },
  'Reply-To = TOKEN on a withdrawal that is refused': {
    send: scene =>
      raw(scene, { Action: 'Withdraw', Quantity: String(10n ** 20n), 'Reply-To': scene.cast.world.token }),
    code: 'underpaid',
  },
  'a Transfer-Error for a withdrawal that was executed': {
    send: async scene => {
      const { world } = scene.cast
      await world.send(forger, world.network, 'Withdraw', { Quantity: '5' })
      return raw(scene, { Action: 'Transfer-Error', 'X-Transfer': '1', 'From-Process': world.token })
    },
  },
  'a Debit-Notice for money that is still on its way': {
    send: async scene => {
      const { world } = scene.cast
      world.delivering = false
      await world.send(forger, world.network, 'Withdraw', { Quantity: '5' })
      const sent = await raw(scene, { Action: 'Debit-Notice', 'X-Transfer': '1', Quantity: '5' })
      expect(world.totals().pending).toBe('5')
      world.delivering = true
      await world.deliver()
      return sent
    },
  },
  'From-Process by a wallet': {
    send: scene => raw(scene, { ...CREDIT, 'From-Process': scene.cast.world.token }),
  },
  'the token as From, signed by a wallet': {
    send: scene => raw(scene, CREDIT, { from: scene.cast.world.token, owner: forger }),
  },
  "a foreign token's Credit-Notice": {
    send: scene => raw(scene, { ...CREDIT, 'From-Process': foreign }, { from: foreign, owner: UNIT }),
  },
  "a foreign token's Burn-Notice": {
    send: scene =>
      raw(
        scene,
        { Action: 'Burn-Notice', 'X-Transfer': '1', Quantity: '5', 'From-Process': foreign },
        { from: foreign, owner: UNIT },
      ),
  },
  'a commitment in the name of a seat': {
    send: scene => {
      const [seat] = seated(scene.cast, scene.job)
      const tags = { Action: 'Commit', Job: scene.job, 'Output-Commitment': forger, 'Prompt-Tokens': forger }
      return raw(scene, tags, { from: seat?.address ?? '', owner: forger })
    },
  },
}

const ownerOf = ({ world }: Cast): string =>
  world.received(forger, 'Info-Response').at(-1)?.tags['Owner-Text'] ?? ''

describe('a forger of AO messages gains nothing and harms nobody with', () => {
  let cast: Cast
  beforeAll(async () => {
    cast = await setUp({ miners: 4 })
    const { world } = cast
    await world.send(cast.requester, world.token, 'Transfer', { Recipient: forger, Quantity: String(PURSE) })
    await world.pay(forger, 10n * APUS, 'Deposit')
    await world.send(forger, world.network, 'Info')
  })
  afterAll(async () => {
    // After all of it nobody owns the process, and it works.
    await cast.world.send(forger, cast.world.network, 'Info')
    expect(ownerOf(cast)).toMatch(/^nobody/)
  })

  for (const [name, { send, code }] of Object.entries(forgeries))
    it(name, async ({ annotate }) => {
      const { world } = cast
      const honest = cast.miners.map(m => m.address)
      const sheet = new BalanceSheet(world, { hostile: [forger], honest, customers: [cast.requester] })
      const job = await submit(cast, { 'X-Redundancy': '2' }, SEAT_PRICE * 3n)
      await tick(cast)
      const before = JSON.parse(String(world.published.network.clock)) as { network: number }
      const sent = await send({ cast, job })
      expect(sent.error).toBeUndefined()
      expect(sent.code).toBe(code)
      const after = JSON.parse(String(world.published.network.clock)) as { network: number }
      expect(after.network - before.network).toBeLessThan(10)
      expect(world.job(job).seats.map(s => s.state)).toEqual(['drawn', 'drawn'])
      await commitAll(cast, job)
      await revealAll(cast, job)
      await world.pass(21 * MINUTE)
      const figures = sheet.close()
      expect(figures.hostile).toBe(0n)
      const seats = world.job(job).seats.map(s => s.miner as string)
      for (const who of honest) expect(sheet.gain(who)).toBe(seats.includes(who) ? WAGE : 0n)
      await annotate(told(figures))
    })
})

describe('notices that are lost cost nobody anything:', () => {
  it('a Transfer-Error restores a withdrawal, and a Debit-Notice that never comes leaves it pending', async () => {
    const { world, requester } = await setUp({ miners: 0 })
    await world.pay(requester, 10n * APUS, 'Deposit')
    world.delivering = false
    await world.send(requester, world.network, 'Withdraw', { Quantity: '3' })
    const [lost] = world.flying.splice(0)
    const refusal = { 'X-Transfer': lost?.tags['X-Transfer'] }
    await world.push(world.token, world.network, 'Transfer-Error', refusal)
    expect(world.account(requester)).toBe(10n * APUS)
    await world.send(requester, world.network, 'Withdraw', { Quantity: '4' })
    await world.deliverOne(world.flying.shift()!)
    const debit = world.flying.findIndex(m => m.tags.Action === 'Debit-Notice')
    const [notice] = world.flying.splice(debit, 1)
    world.delivering = true
    await world.deliver()
    // The units are with the requester, the network waits for word of it: nothing is paid twice.
    world.flying.push(notice!)
    world.checkInvariants()
    expect(world.totals()).toMatchObject({ pending: '4', accounts: String(10n * APUS - 4n) })
    await world.deliver()
    expect(world.totals()).toMatchObject({ pending: '0' })
  })
})
