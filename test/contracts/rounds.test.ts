import { beforeEach, describe, expect, it } from 'vitest'
import { APUS, addressOf, digestOf } from '../support/contracts.ts'
import {
  type Cast,
  commitAll,
  HONEST,
  LIE,
  MAX_TOKENS,
  type Miner,
  PRICE,
  resultOf,
  revealAll,
  SEAT_PRICE,
  seated,
  setUp,
  submit,
  tick,
  tokensOf,
  WAGE,
} from '../support/contracts-cast.ts'

const MINUTE = 60_000
const BOND = 29n * APUS
const FEE = SEAT_PRICE / 10n

describe('rounds', () => {
  let cast: Cast
  let job: string
  beforeEach(async () => {
    cast = await setUp({ miners: 6 })
    job = await submit(cast)
    await tick(cast)
  })
  const view = () => cast.world.job(job)
  const miner = (m: Miner) => cast.world.miner(m.address)
  const settle = () => cast.world.pass(21 * MINUTE)

  it('lock bond, wage and dispute bond of every seat, and release them at the end', async () => {
    for (const seat of seated(cast, job)) expect(miner(seat).locked).toBe(String(BOND + SEAT_PRICE * 5n))
    await commitAll(cast, job)
    await revealAll(cast, job)
    await settle()
    for (const m of cast.miners) expect(miner(m).locked).toBe('0')
  })

  it('refuse strangers, unknown jobs and second commitments', async () => {
    const [seat] = seated(cast, job)
    const stranger = cast.miners.find(m => !view().seats.some(s => s.miner === m.address))!
    expect((await stranger.commit(job)).code).toBe('no-seat')
    const nowhere = { Job: digestOf('nowhere'), 'Output-Commitment': addressOf('c') }
    expect((await seat!.act('Commit', nowhere)).code).toBe('unknown-job')
    expect((await seat!.act('Commit', { Job: job, 'Output-Commitment': 'short' })).code).toBe('bad-tag')
    expect((await seat!.act('Commit', { Job: job, 'Output-Commitment': addressOf('c') })).code).toBe(
      'bad-tag',
    )
    expect((await seat!.commit(job)).code).toBeUndefined()
    expect((await seat!.commit(job, LIE)).code).toBe('already-committed')
    expect((await seat!.commit(job)).code).toBe('already-committed')
    expect(seated(cast, job, ['committed'])).toHaveLength(1)
  })

  it('refuse reveals that come early, without commitment, or open something else', async () => {
    const [seat, other] = seated(cast, job)
    expect((await other!.reveal(job)).code).toBe('not-committed')
    await seat!.commit(job)
    expect((await seat!.reveal(job)).code).toBe('reveal-too-early')
    await commitAll(cast, job)
    expect((await seat!.reveal(job, LIE)).code).toBe('reveal-mismatch')
    expect((await seat!.reveal(job, HONEST, { Salt: addressOf('salt') })).code).toBe('reveal-mismatch')
    expect((await seat!.reveal(job, HONEST, { Count: '99' })).code).toBe('bad-tag')
    expect((await seat!.reveal(job, HONEST, { Finish: 'maybe' })).code).toBe('bad-tag')
    expect((await seat!.reveal(job, HONEST, { Finish: 'length' })).code).toBe('reveal-mismatch')
    const stranger = cast.miners.find(m => !view().seats.some(s => s.miner === m.address))!
    expect((await stranger.reveal(job)).code).toBe('no-seat')
    expect((await seat!.reveal(job)).code).toBeUndefined()
    expect((await seat!.reveal(job)).code).toBe('already-revealed')
  })

  it('refuse an answer that is not the one committed to', async () => {
    await commitAll(cast, job)
    const [seat] = seated(cast, job, ['committed'])
    const pieces = (list: readonly string[]) =>
      seat!.reveal(job, HONEST, {}, JSON.stringify({ tokens: HONEST.tokens, pieces: list }))
    expect((await pieces(LIE.pieces)).code).toBe('answer-mismatch')
    expect((await pieces(HONEST.pieces.slice(1))).code).toBe('answer-mismatch')
    expect((await pieces([...HONEST.pieces.slice(0, 4), '***'])).code).toBe('bad-data')
    expect((await seat!.reveal(job, HONEST, {}, '{')).code).toBe('bad-data')
    expect((await seat!.reveal(job, HONEST, {}, '')).code).toBe('bad-data')
    const huge = Buffer.alloc(8_000).toString('base64')
    expect((await pieces([huge, huge, huge, huge, huge])).code).toBe('answer-too-large')
    expect(view().seats.some(s => s.state === 'revealed')).toBe(false)
    expect((await pieces(HONEST.pieces)).code).toBeUndefined()
    const [next] = seated(cast, job, ['committed'])
    expect((await next!.reveal(job, HONEST, {}, '')).code).toBeUndefined()
  })

  it('refuse tokens that are not those committed to, or none of the model', async () => {
    const unknown = { ...HONEST, ...tokensOf([0, 1, 2, 3, 4_000_000_000]) }
    for (let i = 0; i < 9 && view().state !== 'revealing'; i++) {
      const [next] = seated(cast, job)
      if (next) await next.commit(job, next.address === view().seats[0]!.miner ? unknown : HONEST)
      else await tick(cast)
    }
    const [strange, seat] = seated(cast, job, ['committed'])
    const said = (by: typeof seat, result: typeof HONEST, data: unknown) =>
      by!.reveal(job, result, {}, JSON.stringify(data)).then(outcome => outcome.code)
    const { pieces } = HONEST
    expect(await said(seat, HONEST, { pieces })).toBe('bad-data')
    expect(await said(seat, HONEST, { pieces, tokens: 5 })).toBe('bad-data')
    expect(await said(seat, HONEST, { pieces, tokens: '!' })).toBe('bad-data')
    expect(await said(seat, HONEST, { pieces, tokens: unknown.tokens })).toBe('token-mismatch')
    expect(await said(seat, HONEST, { pieces, tokens: HONEST.tokens.slice(0, 16) })).toBe('token-mismatch')
    expect(await said(strange, unknown, { pieces, tokens: unknown.tokens })).toBe('unknown-token')
    expect(await said(seat, HONEST, HONEST)).toBeUndefined()
    expect(cast.world.entry('tokens', `${job}.${HONEST.tokenDigest}`)).toBe(HONEST.tokens)
    expect(cast.world.entry('tokens', `${job}.${unknown.tokenDigest}`)).toBeUndefined()
  })

  it('take an answer that is stored elsewhere, and prefer one that is sent', async () => {
    await commitAll(cast, job)
    const stored = { 'Answer-Id': addressOf('item'), 'Answer-Size': '40000' }
    const [first, second, ...rest] = seated(cast, job, ['committed'])
    await first!.reveal(job, HONEST, stored, JSON.stringify({ tokens: HONEST.tokens }))
    await second!.reveal(job)
    for (const seat of rest) await seat.reveal(job, HONEST, stored, '')
    const answer = JSON.parse(cast.world.entry('answers', job) ?? '')
    expect(answer).toMatchObject({
      text: 'The answer is 42',
      pieces: HONEST.pieces,
      answerRoot: HONEST.answerRoot,
    })
  })

  it('hold unequal results until the window ends and then give the money back, without a slash', async () => {
    const liar = seated(cast, job)[0]!
    for (let i = 0; i < 9 && view().state !== 'revealing'; i++) {
      const [next] = seated(cast, job)
      if (next) await next.commit(job, next.address === liar.address ? LIE : HONEST)
      else await tick(cast)
    }
    for (const seat of seated(cast, job, ['committed']))
      await seat.reveal(job, seat.address === liar.address ? LIE : HONEST)
    expect(view().state).toBe('held')
    expect(view().escrow).toBe(String(PRICE))
    expect(cast.world.received(cast.requester, 'Infer-Response')).toHaveLength(0)
    await settle()
    expect(view()).toMatchObject({ state: 'refunded', code: 'unequal-results', refunded: String(PRICE) })
    for (const m of cast.miners) {
      expect(cast.world.account(m.address)).toBe(0n)
      expect(miner(m)).toMatchObject({ stake: String(5_000n * APUS), locked: '0', standing: 0 })
    }
  })

  it('draw missing seats anew, twice, and go on with those that committed', async () => {
    const [honest, ...silent] = seated(cast, job)
    await honest!.commit(job)
    await cast.world.pass(11 * MINUTE)
    await tick(cast)
    const missed = view().seats.filter(s => s.state === 'missed')
    expect(missed.map(s => s.miner).sort()).toEqual(silent.map(m => m.address).sort())
    for (const m of silent)
      expect(miner(m)).toMatchObject({ locked: '0', missed: 1, stake: String(5_000n * APUS) })
    expect(seated(cast, job).length).toBe(2)
    expect(view().seats.filter(s => s.draw === 1)).toHaveLength(2)
    await cast.world.pass(11 * MINUTE)
    await tick(cast)
    expect(view().seats.filter(s => s.draw === 2)).toHaveLength(1)
    await cast.world.pass(11 * MINUTE)
    await tick(cast)
    await tick(cast)
    expect(view().state).toBe('revealing')
    expect((await silent[0]!.commit(job)).code).toBe('seat-lost')
    await honest!.reveal(job)
    expect(view()).toMatchObject({ state: 'agreed', escrow: '0' })
    expect(cast.world.account(honest!.address)).toBe(WAGE)
  })

  it('end without commitments and return everything', async () => {
    const before = cast.world.balance(cast.requester)
    for (let i = 0; i < 3; i++) await cast.world.pass(12 * MINUTE)
    expect(view()).toMatchObject({ state: 'expired', code: 'no-commitments', refunded: String(PRICE) })
    expect(cast.world.balance(cast.requester)).toBe(before + PRICE)
    for (const m of cast.miners) expect(miner(m).locked).toBe('0')
  })

  it('let a seat retract while others still commit, and not when an audit may be known', async () => {
    const [first] = seated(cast, job)
    expect((await first!.act('Retract', { Job: job })).code).toBe('too-late-to-retract')
    await first!.commit(job)
    expect((await first!.act('Retract', { Job: job })).code).toBeUndefined()
    expect((await first!.commit(job)).code).toBe('seat-lost')
    await commitAll(cast, job)
    expect(view().seats.filter(s => s.state === 'committed' && !s.audit)).toHaveLength(3)
    const [committed] = seated(cast, job, ['committed'])
    expect((await committed!.act('Retract', { Job: job })).code).toBe('too-late-to-retract')
  })

  it('charge a late reveal a small fee and nothing else', async () => {
    await commitAll(cast, job)
    const [late, ...rest] = seated(cast, job, ['committed'])
    for (const seat of rest) await seat.reveal(job)
    await cast.world.pass(11 * MINUTE)
    expect(view().state).toBe('agreed')
    expect(view().seats.find(s => s.miner === late!.address)?.state).toBe('late')
    expect((await late!.reveal(job)).code).toBeUndefined()
    expect(miner(late!).stake).toBe(String(5_000n * APUS - FEE))
    expect(cast.world.account(late!.address)).toBe(0n)
    expect((await late!.reveal(job)).code).toBe('already-revealed')
    await cast.world.pass(45 * MINUTE)
    expect(view().state).toBe('settled')
    expect(miner(late!)).toMatchObject({ locked: '0', stake: String(5_000n * APUS - FEE) })
    expect(cast.world.totals()).toMatchObject({ burning: String(FEE) })
  })

  it('take the bond of a seat that never reveals: part to the requester, the rest burnt', async () => {
    await commitAll(cast, job)
    const [silent, ...rest] = seated(cast, job, ['committed'])
    for (const seat of rest) await seat.reveal(job)
    await cast.world.pass(72 * MINUTE)
    expect(view().state).toBe('settled')
    expect(view().seats.find(s => s.miner === silent!.address)).toMatchObject({
      state: 'late',
      slashed: String(BOND),
    })
    expect(miner(silent!)).toMatchObject({ stake: String(5_000n * APUS - BOND), locked: '0', standing: 0 })
    expect(cast.world.account(cast.requester)).toBe(SEAT_PRICE)
    expect(cast.world.totals()).toMatchObject({
      burnt: String(BOND - SEAT_PRICE),
      burning: '0',
      pending: '0',
    })
    expect((await silent!.reveal(job)).code).toBe('job-ended')
    for (const seat of rest) expect(cast.world.account(seat.address)).toBe(WAGE)
  })

  it('expire when nobody reveals, and still take the bonds', async () => {
    await commitAll(cast, job)
    const committed = seated(cast, job, ['committed'])
    await cast.world.pass(11 * MINUTE)
    expect(view()).toMatchObject({ state: 'expired', code: 'no-reveals', refunded: String(PRICE) })
    expect((await committed[0]!.reveal(job)).code).toBeUndefined()
    await cast.world.pass(80 * MINUTE)
    expect(miner(committed[0]!).stake).toBe(String(5_000n * APUS - FEE))
    for (const seat of committed.slice(1)) expect(miner(seat).stake).toBe(String(5_000n * APUS - BOND))
    for (const m of cast.miners) expect(miner(m).locked).toBe('0')
  })

  it('are not changed by repeated messages', async () => {
    await commitAll(cast, job)
    const [seat] = seated(cast, job, ['committed'])
    const before = view()
    const message = { from: seat!.address, process: cast.world.network, id: addressOf('same') }
    await cast.world.raw({ ...message, tags: { Action: 'Pause' } })
    expect((await cast.world.raw({ ...message, tags: { Action: 'Pause' } })).code).toBe('duplicate')
    expect(view()).toEqual(before)
  })

  it('bind the prompt tokens that the requester gave', async () => {
    const promptTokens = digestOf('tokens')
    const bound = await submit(cast, { 'X-Prompt-Tokens': promptTokens })
    await tick(cast)
    const result = resultOf(['yes'], promptTokens)
    const [first, second] = seated(cast, bound)
    expect((await first!.commit(bound, HONEST)).code).toBe('prompt-tokens-differ')
    expect((await second!.commit(bound, result)).code).toBeUndefined()
    await commitAll(cast, bound, result)
    await revealAll(cast, bound, result)
    expect(cast.world.job(bound).state).toBe('agreed')
  })

  it('void a job whose seats cut the prompt differently, for a small fee and without blame', async () => {
    const [odd, ...rest] = seated(cast, job)
    await odd!.commit(job, resultOf(['The'], digestOf('other tokens')))
    for (const seat of rest) await seat.commit(job)
    const fee = SEAT_PRICE / 20n
    expect(view()).toMatchObject({
      state: 'void',
      code: 'prompt-tokens-differ',
      refunded: String(PRICE - 3n * fee),
    })
    for (const m of [odd!, ...rest]) {
      expect(cast.world.account(m.address)).toBe(fee)
      expect(miner(m)).toMatchObject({ locked: '0', missed: 0 })
    }
  })

  it('deliver only the final answer when asked to', async () => {
    const id = await submit(cast, { 'X-Deliver': 'Final', 'X-Reference': 'f' })
    await tick(cast)
    await commitAll(cast, id)
    await revealAll(cast, id)
    expect(cast.world.job(id).state).toBe('agreed')
    expect(cast.world.received(cast.requester, 'Infer-Response')).toHaveLength(0)
    await settle()
    const [answer] = cast.world.received(cast.requester, 'Infer-Response')
    expect(answer).toMatchObject({ data: 'The answer is 42', tags: { 'X-Reference': 'f' } })
  })

  it('cut the answer before the stop string', async () => {
    const id = await submit(cast, { 'X-Stop': '["END"]' })
    await tick(cast)
    const result = resultOf(['caf', 'é ', 'E', 'ND', '!'])
    await commitAll(cast, id, result)
    await revealAll(cast, id, result)
    expect(JSON.parse(cast.world.entry('answers', id) ?? '').text).toBe('café ')
  })

  it('audit every job of newcomers, then fewer, and count standing only for audited ones', async () => {
    const audited: boolean[] = []
    for (let i = 0; i < 12; i++) {
      const id = await submit(cast, { 'X-Redundancy': '5' }, SEAT_PRICE * 6n)
      await tick(cast)
      await commitAll(cast, id)
      await revealAll(cast, id)
      await settle()
      audited.push(cast.world.job(id).seats.some(s => s.audit))
    }
    const wins = audited.filter(Boolean).length
    expect(audited.slice(0, 4)).toEqual([true, true, true, true])
    expect(wins).toBeLessThan(12)
    for (const m of cast.miners) expect(miner(m).standing).toBeLessThanOrEqual(wins)
    expect(Math.max(...cast.miners.map(m => miner(m).standing))).toBe(wins)
    expect(MAX_TOKENS).toBeGreaterThan(HONEST.count)
  })
})

describe('a class that nobody can recompute', () => {
  let cast: Cast
  beforeEach(async () => {
    cast = await setUp({ miners: 4, class: 'llama.cpp/b1/avx2' })
  })
  const run = async (liars: number, tags = {}) => {
    const job = await submit(cast, tags, SEAT_PRICE * 3n)
    await tick(cast)
    const seats = seated(cast, job)
    const resultFor = (m: Miner) => (seats.findIndex(s => s.address === m.address) < liars ? LIE : HONEST)
    for (const m of seats) await m.commit(job, resultFor(m))
    for (const m of seats) await m.reveal(job, resultFor(m))
    return { job: cast.world.job(job), seats }
  }

  it('locks nothing, audits nothing and is paid and final at once', async () => {
    const { job, seats } = await run(0)
    expect(job).toMatchObject({ state: 'settled', verifiable: false, escrow: '0' })
    expect(job.seats.every(s => !s.audit && s.state === 'revealed')).toBe(true)
    for (const m of seats) {
      expect(cast.world.account(m.address)).toBe(WAGE)
      expect(cast.world.miner(m.address)).toMatchObject({ locked: '0', standing: 0 })
    }
    expect(cast.world.received(cast.requester, 'Infer-Response')[0]?.tags.Verifiable).toBe('false')
  })

  it('pays two thirds and leaves the third unpaid', async () => {
    const { job, seats } = await run(1)
    expect(job.state).toBe('settled')
    expect(seats.map(m => cast.world.account(m.address))).toEqual([0n, WAGE, WAGE])
    expect(BigInt(job.refunded!)).toBe(SEAT_PRICE * 3n - WAGE * 2n)
  })

  it('refunds when no two thirds agree', async () => {
    const { job } = await run(1, { 'X-Redundancy': '2' })
    expect(job).toMatchObject({ state: 'refunded', code: 'no-agreement', refunded: String(SEAT_PRICE * 3n) })
  })

  it('does not pay the only one of several seats that revealed', async () => {
    const id = await submit(cast, {}, SEAT_PRICE * 3n)
    await tick(cast)
    const seats = seated(cast, id)
    for (const m of seats) await m.commit(id)
    await seats[0]!.reveal(id)
    await cast.world.pass(11 * MINUTE)
    expect(cast.world.job(id)).toMatchObject({ state: 'refunded', code: 'no-agreement' })
    expect(cast.world.miner(seats[1]!.address).stake).toBe(String(5_000n * APUS))
    expect((await seats[1]!.reveal(id)).code).toBe('job-ended')
  })

  it('pays a single seat when one was asked for', async () => {
    const { job } = await run(0, { 'X-Redundancy': '1' })
    expect(job.state).toBe('settled')
  })
})
