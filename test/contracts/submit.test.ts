import { promptDigest } from '@apus/shared/protocol'
import { beforeAll, describe, expect, it } from 'vitest'
import { APUS, addressOf, digestOf, type Tags } from '../support/contracts.ts'
import {
  type Cast,
  commitAll,
  JOB_TAGS,
  MODEL,
  PRICE,
  revealAll,
  SEAT_PRICE,
  setUp,
  submit,
  tick,
} from '../support/contracts-cast.ts'

describe('a submission', () => {
  let cast: Cast
  beforeAll(async () => {
    cast = await setUp({ miners: 3 })
    await cast.world.pay(cast.requester, 500n * APUS, 'Deposit')
  })

  const refused: readonly (readonly [string, Tags, string, string])[] = [
    ['an unknown model', { 'X-Model': addressOf('unknown') }, 'hi', 'unknown-model'],
    ['no model', { 'X-Model': undefined }, 'hi', 'bad-tag'],
    ['no length', { 'X-Max-Tokens': undefined }, 'hi', 'bad-tag'],
    ['no tokens', { 'X-Max-Tokens': '0' }, 'hi', 'bad-tag'],
    ['too many tokens', { 'X-Max-Tokens': '4097' }, 'hi', 'bad-tag'],
    ['half a token', { 'X-Max-Tokens': '1.5' }, 'hi', 'bad-tag'],
    ['no seats', { 'X-Redundancy': '0' }, 'hi', 'bad-tag'],
    ['too many seats', { 'X-Redundancy': '17' }, 'hi', 'bad-tag'],
    ['a prompt over 64 KB', {}, 'x'.repeat(65_537), 'prompt-too-large'],
    ['no prompt', {}, '', 'no-prompt'],
    ['a prompt id without its hash', { 'X-Prompt-Id': addressOf('item') }, '', 'bad-tag'],
    ['a prompt with another hash', { 'X-Prompt-Hash': digestOf('other') }, 'hi', 'bad-prompt'],
    ['chat that is no JSON', { 'X-Format': 'chat' }, 'hi', 'bad-prompt'],
    ['chat without content', { 'X-Format': 'chat' }, '[{"role":"user"}]', 'bad-prompt'],
    ['an unknown format', { 'X-Format': 'html' }, 'hi', 'bad-tag'],
    ['an unknown delivery', { 'X-Deliver': 'Never' }, 'hi', 'bad-tag'],
    ['a broken sampler', { 'X-Sampler': '{' }, 'hi', 'bad-sampler'],
    ['a sampler that is a list', { 'X-Sampler': '[1]' }, 'hi', 'bad-sampler'],
    ['an unknown sampler field', { 'X-Sampler': '{"magic":1}' }, 'hi', 'bad-sampler'],
    ['a temperature too high', { 'X-Sampler': '{"temperature":262145}' }, 'hi', 'bad-sampler'],
    ['a temperature near zero', { 'X-Sampler': '{"temperature":654}' }, 'hi', 'bad-sampler'],
    ['a fraction as temperature', { 'X-Sampler': '{"temperature":0.7}' }, 'hi', 'bad-sampler'],
    ['text as temperature', { 'X-Sampler': '{"temperature":"0"}' }, 'hi', 'bad-sampler'],
    ['five stop strings', { 'X-Stop': '["a","b","c","d","e"]' }, 'hi', 'bad-stop'],
    ['an empty stop string', { 'X-Stop': '[""]' }, 'hi', 'bad-stop'],
    ['a long stop string', { 'X-Stop': JSON.stringify(['😀'.repeat(33)]) }, 'hi', 'bad-stop'],
    ['stop that is no list', { 'X-Stop': '{"a":"b"}' }, 'hi', 'bad-stop'],
    ['a long reference', { 'X-Reference': 'r'.repeat(129) }, 'hi', 'bad-tag'],
    ['malformed prompt tokens', { 'X-Prompt-Tokens': 'abc' }, 'hi', 'bad-tag'],
  ]

  it.each(refused)('with %s is refused and refunded in full', async (_, tags, prompt, code) => {
    const { world, requester } = cast
    const before = world.balance(requester)
    await world.pay(requester, PRICE, 'Submit-Job', { ...JOB_TAGS, ...tags }, prompt)
    expect(world.balance(requester)).toBe(before)
    const refund = world.received(requester, 'Credit-Notice').at(-1)
    expect(refund?.tags).toMatchObject({ 'X-Action': 'Refund', 'X-Code': code, Quantity: String(PRICE) })
  })

  it.each(refused)('with %s is refused directly too', async (_, tags, prompt, code) => {
    const { world, requester } = cast
    const before = world.account(requester)
    const outcome = await world.send(requester, world.network, 'Submit-Job', { ...JOB_TAGS, ...tags }, prompt)
    expect(outcome.code).toBe(code)
    expect(world.account(requester)).toBe(before)
  })

  it('with too little money is refunded in full', async () => {
    const { world, requester } = cast
    const before = world.balance(requester)
    await world.pay(requester, PRICE - 1n, 'Submit-Job', JOB_TAGS, 'hi')
    expect(world.balance(requester)).toBe(before)
    expect(world.received(requester, 'Credit-Notice').at(-1)?.tags['X-Code']).toBe('underpaid')
    const poor = await world.send(addressOf('poor'), world.network, 'Submit-Job', JOB_TAGS, 'hi')
    expect(poor.code).toBe('underpaid')
  })

  it('with a reference used before is refunded in full', async () => {
    const { world, requester } = cast
    await submit(cast, { 'X-Reference': 'once' })
    const before = world.balance(requester)
    await world.pay(requester, PRICE, 'Submit-Job', { ...JOB_TAGS, 'X-Reference': 'once' }, 'hi')
    expect(world.balance(requester)).toBe(before)
    expect(world.received(requester, 'Credit-Notice').at(-1)?.tags['X-Code']).toBe('duplicate-reference')
  })

  it('records every setting with its default and publishes the prompt', async () => {
    const prompt = 'Was heißt „42“? 😀'
    const id = await submit(
      cast,
      {
        'X-Sampler': '{"temperature":655,"seed":4294967295,"frequencyPenalty":-131072}',
        'X-Stop': JSON.stringify(['\n\n', '😀'.repeat(32)]),
        'X-Reference': 'settings',
        'X-Redundancy': '2',
      },
      SEAT_PRICE * 3n,
      prompt,
    )
    expect(cast.world.job(id)).toMatchObject({
      requester: cast.requester,
      reference: 'settings',
      model: MODEL,
      redundancy: 2,
      format: 'text',
      stop: ['\n\n', '😀'.repeat(32)],
      promptHash: promptDigest(prompt),
      escrow: String(SEAT_PRICE * 3n),
      seatPrice: String(SEAT_PRICE),
      sampler: {
        temperature: 655,
        topK: 0,
        topP: 65_536,
        repeatPenalty: 65_536,
        frequencyPenalty: -131_072,
        presencePenalty: 0,
        penaltyWindow: 64,
        seed: 4_294_967_295,
      },
    })
    expect(cast.world.entry('prompts', id)).toBe(prompt)
  })

  it('may name its prompt on Arweave', async () => {
    const tags = { 'X-Prompt-Id': addressOf('item'), 'X-Prompt-Hash': digestOf('prompt') }
    const id = await submit(cast, tags, PRICE, '')
    expect(cast.world.job(id)).toMatchObject({ promptId: addressOf('item'), promptHash: digestOf('prompt') })
    expect(cast.world.entry('prompts', id)).toBeUndefined()
  })

  it('from the account takes the least escrow and gives it back to the account', async () => {
    const { world, requester } = cast
    const before = world.account(requester)
    const outcome = await world.send(
      requester,
      world.network,
      'Submit-Job',
      { Model: MODEL, 'Max-Tokens': '16', Reference: 'direct' },
      'hi',
    )
    expect(outcome.code).toBeUndefined()
    expect(world.account(requester)).toBe(before - PRICE)
    expect(world.job(outcome.id).reference).toBe('direct')
    const cancel = (from: string) => world.send(from, world.network, 'Cancel-Job', { Job: outcome.id })
    expect((await cancel(addressOf('stranger'))).code).toBe('not-yours')
    expect((await cancel(requester)).code).toBe('too-late-to-cancel')
  })
})

describe('a job without enough miners', () => {
  it('waits, can be cancelled, and expires with all its money back', async () => {
    const cast = await setUp({ miners: 2 })
    const { world, requester } = cast
    const before = world.balance(requester)
    const cancelled = await submit(cast)
    await tick(cast)
    expect(world.job(cancelled).state).toBe('submitted')
    expect(
      (await world.send(requester, world.network, 'Cancel-Job', { Job: cancelled })).code,
    ).toBeUndefined()
    expect(world.job(cancelled)).toMatchObject({ state: 'cancelled', refunded: String(PRICE) })
    expect((await world.send(requester, world.network, 'Cancel-Job', { Job: cancelled })).code).toBe(
      'job-ended',
    )
    const expiring = await submit(cast)
    await world.pass(12 * 60_000)
    expect(world.job(expiring)).toMatchObject({ state: 'expired', code: 'too-few-miners', escrow: '0' })
    expect(world.balance(requester)).toBe(before)
    expect(world.received(requester, 'Job-Failed').map(m => m.tags.Code)).toEqual([
      'cancelled',
      'too-few-miners',
    ])
    expect(world.entry('prompts', expiring)).toBe('')
  })

  it('is drawn when locked stake comes free', async () => {
    // Each seat locks 29 + 4.64 APUS: stake for one job at a time.
    const parameters = { minStake: '1', disputeWindow: 4 * 60_000 }
    const cast = await setUp({ miners: 3, stake: 50n * APUS, parameters })
    const first = await submit(cast)
    const second = await submit(cast)
    await tick(cast)
    expect(cast.world.job(first).state).toBe('seated')
    expect(cast.world.job(second).state).toBe('submitted')
    await commitAll(cast, first)
    await revealAll(cast, first)
    await cast.world.pass(5 * 60_000)
    expect(cast.world.job(first).state).toBe('settled')
    await tick(cast)
    expect(cast.world.job(second).state).toBe('seated')
  })
})
