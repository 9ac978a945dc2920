import { describe, expect, it } from 'vitest'
import { APUS } from '../support/contracts.ts'
import {
  commitAll,
  HONEST,
  JOB_TAGS,
  PRICE,
  revealAll,
  SEAT_PRICE,
  setUp,
  submit,
  tick,
} from '../support/contracts-cast.ts'

describe('a job', () => {
  it('is paid by token, computed by equal seats, answered, paid and settled', async () => {
    const cast = await setUp()
    const { world, requester, miners } = cast
    const before = world.balance(requester)
    const id = await submit(cast, { 'X-Reference': 'first' })
    expect(world.job(id).state).toBe('submitted')
    await tick(cast)
    expect(world.job(id).state).toBe('seated')
    expect(world.job(id).seats).toHaveLength(3)
    await commitAll(cast, id)
    expect(world.job(id).seats.filter(s => s.audit)).toHaveLength(1)
    await revealAll(cast, id)
    const job = world.job(id)
    expect(job.state).toBe('agreed')
    const wage = APUS + (APUS / 100n) * 5n
    const seats: string[] = job.seats.map(s => s.miner)
    for (const m of miners) expect(world.account(m.address)).toBe(seats.includes(m.address) ? wage : 0n)
    const answer = world.received(requester, 'Infer-Response')
    expect(answer).toHaveLength(1)
    expect(answer[0]?.data).toBe('The answer is 42')
    expect(answer[0]?.tags).toMatchObject({ Job: id, 'X-Reference': 'first', Agreed: '4', Seats: '4' })
    expect(world.balance(requester)).toBe(before - wage * 4n)
    expect(BigInt(job.refunded!)).toBe(PRICE - wage * 4n)
    await world.pass(21 * 60_000)
    expect(world.job(id).state).toBe('settled')
    for (const m of miners) {
      expect(world.miner(m.address).locked).toBe('0')
      expect(world.miner(m.address).standing).toBe(seats.includes(m.address) ? 1 : 0)
    }
    expect(SEAT_PRICE * 4n).toBe(PRICE)
    expect(JOB_TAGS['X-Model']).toBe(job.model)
    expect(job.agreed?.count).toBe(HONEST.count)
  })
})
