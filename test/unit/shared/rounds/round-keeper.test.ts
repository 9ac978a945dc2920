import { createLogger } from '@apus/shared/kit'
import { type Address, ENDED, type JobId, type JobView, type SeatView } from '@apus/shared/protocol'
import { RoundKeeper } from '@apus/shared/rounds'
import fc from 'fast-check'
import { afterEach, beforeEach, describe, expect, test, vi } from 'vitest'
import { ContractModel, type Fate, WINDOWS } from '../../../support/contract-model.ts'

const START = 1_800_000_000_000
const HOUR = 3_600_000
const log = createLogger({ name: 'test', level: 'silent' })

interface World {
  /** How far the scheduler's clock is ahead of ours (ms). */
  readonly skewMs: number
  /** From a message's evaluation to its publication here (ms). */
  readonly lagMs: number
  /** Every nth tick fails; 0 for none. */
  readonly failEvery: number
}

/** When a miner commits after it was drawn, and reveals after it may; never where there is no time. */
type Miner = (job: JobId, seat: SeatView) => { commitMs?: number; revealMs?: number }

/** A keeper, a modelled network and modelled miners, on fake time. */
class Scenario {
  readonly model: ContractModel
  readonly keeper: RoundKeeper
  readonly ticks: number[] = []
  readonly published = new Map<JobId, JobView>()
  readonly dispatched = new Set<string>()
  readonly gossiped = new Map<JobId, Set<Address>>()
  readonly #world: World
  readonly #miner: Miner
  #clock: { network: number; timestamp: number; seenAt: number } | undefined
  #calls = 0
  readonly #working = new Set<string>()

  constructor(world: World, miner: Miner) {
    this.#world = world
    this.#miner = miner
    this.model = new ContractModel(START + world.skewMs)
    this.keeper = new RoundKeeper({
      jobs: () => this.published.values(),
      clock: () => this.#clock,
      commitmentsSeen: id => this.gossiped.get(id) ?? new Set(),
      tick: async () => {
        this.#calls += 1
        if (world.failEvery > 0 && this.#calls % world.failEvery === 0) throw new Error('no answer')
        this.ticks.push(Date.now())
        this.model.message(this.#at())
        this.publish()
      },
      dispatch: seats => {
        for (const [job, seat] of seats) this.#work(job.id, seat)
      },
      onTick: () => {},
      time: { now: () => Date.now() },
      log,
    })
  }

  submit(name: string, redundancy: number, fate: Fate): JobId {
    const id = this.model.submit(this.#at(), name, redundancy, fate)
    this.publish()
    return id
  }

  publish(): void {
    const jobs = [...this.model.jobs.keys()].map(id => this.model.view(id))
    const clock = { network: this.model.network, timestamp: this.model.timestamp }
    setTimeout(() => {
      for (const job of jobs) this.published.set(job.id, job)
      this.#clock = { ...clock, seenAt: Date.now() }
      this.keeper.look()
    }, this.#world.lagMs)
  }

  /** Fake time passes until every job has ended, or `limitMs` are over. */
  async untilEnded(limitMs: number): Promise<void> {
    const end = Date.now() + limitMs
    const ended = () => [...this.published.values()].every(job => ENDED.includes(job.state))
    await vi.advanceTimersByTimeAsync(this.#world.lagMs + 1)
    while (!ended() && Date.now() < end) await vi.advanceTimersByTimeAsync(5_000)
  }

  #at(): number {
    return Date.now() + this.#world.skewMs
  }

  #work(job: JobId, seat: SeatView): void {
    const key = `${job} ${seat.miner}`
    this.dispatched.add(key)
    if (this.#working.has(key)) return
    this.#working.add(key)
    const { commitMs, revealMs } = this.#miner(job, seat)
    if (commitMs === undefined) return
    setTimeout(() => {
      this.gossiped.set(job, (this.gossiped.get(job) ?? new Set()).add(seat.miner))
      this.model.commit(this.#at(), job, seat.miner)
      this.publish()
      if (revealMs !== undefined) this.#reveal(job, seat.miner, revealMs)
    }, commitMs)
  }

  #reveal(job: JobId, miner: Address, afterMs: number): void {
    setTimeout(() => {
      const view = this.model.view(job)
      if (ENDED.includes(view.state)) return
      if (view.state === 'revealing') {
        this.model.reveal(this.#at(), job, miner)
        this.publish()
      } else this.#reveal(job, miner, 1_000)
    }, afterMs)
  }
}

const calm: World = { skewMs: 0, lagMs: 30, failEvery: 0 }
const prompt = () => ({ commitMs: 200, revealMs: 50 })
const willing: Fate = { candidates: () => 5, audit: false }

describe('the round keeper', () => {
  beforeEach(() => {
    vi.useFakeTimers({ now: START })
  })
  afterEach(() => {
    vi.useRealTimers()
  })

  const run = async (scenario: Scenario, limitMs = 4 * HOUR): Promise<void> => {
    scenario.keeper.start()
    await scenario.untilEnded(limitMs)
    const stopped = scenario.keeper.stop()
    await vi.advanceTimersByTimeAsync(6_000)
    await stopped
  }
  const states = (scenario: Scenario) => [...scenario.published.values()].map(job => job.state)

  test('brings a job from submission to the end of its rounds with two ticks', async () => {
    const scenario = new Scenario(calm, prompt)
    scenario.submit('a', 3, willing)
    scenario.keeper.start()
    await vi.advanceTimersByTimeAsync(3_000)
    expect(states(scenario)).toEqual(['agreed'])
    expect(scenario.ticks).toHaveLength(2)
    expect(scenario.dispatched.size).toBe(3)
    await run(scenario)
    expect(states(scenario)).toEqual(['settled'])
    expect(scenario.ticks.length).toBeLessThanOrEqual(2 + WINDOWS.dispute / 120_000 + 1)
  })

  test('serves forty jobs with hardly more ticks than one', async () => {
    const scenario = new Scenario(calm, prompt)
    for (let n = 0; n < 40; n++) scenario.submit(`job ${n}`, 3, willing)
    scenario.keeper.start()
    await vi.advanceTimersByTimeAsync(5_000)
    expect(states(scenario).every(state => state === 'agreed')).toBe(true)
    expect(scenario.ticks.length).toBeLessThanOrEqual(4)
    await run(scenario)
    expect(states(scenario).every(state => state === 'settled')).toBe(true)
    expect(scenario.ticks.length).toBeLessThanOrEqual(4 + WINDOWS.dispute / 120_000 + 5)
  })

  test('dispatches an audit seat like any other', async () => {
    const scenario = new Scenario(calm, prompt)
    const id = scenario.submit('a', 3, { ...willing, audit: true })
    await run(scenario)
    expect(scenario.model.view(id).seats.map(seat => seat.audit)).toEqual([false, false, false, true])
    expect(scenario.dispatched.size).toBe(4)
  })

  test('has silent seats replaced at their deadline', async () => {
    const scenario = new Scenario(calm, (_job, seat) => (seat.draw === 0 ? {} : prompt()))
    const id = scenario.submit('a', 2, willing)
    await run(scenario)
    expect(scenario.model.view(id).seats.map(seat => seat.state)).toEqual([
      'missed',
      'missed',
      'revealed',
      'revealed',
    ])
    expect(states(scenario)).toEqual(['settled'])
  })

  test('lets a job without miners expire without a storm of ticks', async () => {
    const scenario = new Scenario(calm, prompt)
    scenario.submit('a', 3, { candidates: () => 0, audit: false })
    await run(scenario)
    expect(states(scenario)).toEqual(['expired'])
    // Two messages to each attempt, every half a minute for ten minutes.
    expect(scenario.ticks.length).toBeLessThanOrEqual(42)
  })

  test('two keepers beside each other do no harm', async () => {
    const scenario = new Scenario(calm, prompt)
    const other = new RoundKeeper({
      jobs: () => scenario.published.values(),
      clock: () => ({
        network: scenario.model.network,
        timestamp: scenario.model.timestamp,
        seenAt: Date.now(),
      }),
      commitmentsSeen: () => new Set(),
      tick: async () => {
        scenario.model.message(Date.now())
        scenario.publish()
      },
      dispatch: () => {},
      onTick: () => {},
      time: { now: () => Date.now() },
      log,
    })
    other.start()
    scenario.submit('a', 3, willing)
    await run(scenario)
    const stopped = other.stop()
    await vi.advanceTimersByTimeAsync(6_000)
    await stopped
    expect(states(scenario)).toEqual(['settled'])
  })

  test('ends every job, whatever seats, clocks and the way to AO do, with a bounded number of ticks', async () => {
    const fate = fc.record({
      redundancy: fc.integer({ min: 1, max: 4 }),
      candidates: fc.array(fc.integer({ min: 0, max: 5 }), { minLength: 4, maxLength: 4 }),
      audit: fc.boolean(),
      submitMs: fc.integer({ min: 0, max: 30_000 }),
    })
    const miner = fc.record(
      { commitMs: fc.integer({ min: 1, max: 900_000 }), revealMs: fc.integer({ min: 1, max: 900_000 }) },
      { requiredKeys: [] },
    )
    const world = fc.record({
      skewMs: fc.integer({ min: -4_000, max: 4_000 }),
      lagMs: fc.integer({ min: 1, max: 3_000 }),
      failEvery: fc.constantFrom(0, 0, 2, 5),
    })
    await fc.assert(
      fc.asyncProperty(
        world,
        fc.array(fate, { minLength: 1, maxLength: 8 }),
        fc.array(miner, { minLength: 1, maxLength: 12 }),
        async (around, fates, miners) => {
          vi.setSystemTime(START)
          let next = 0
          const scenario = new Scenario(around, () => miners[next++ % miners.length]!)
          for (const [n, f] of fates.entries()) {
            setTimeout(
              () =>
                scenario.submit(`job ${n}`, f.redundancy, {
                  audit: f.audit,
                  candidates: draw => f.candidates[Math.min(draw, 3)]!,
                }),
              f.submitMs,
            )
          }
          await vi.advanceTimersByTimeAsync(31_000)
          await run(scenario, 6 * HOUR)
          const left = [...scenario.published.values()].filter(job => !ENDED.includes(job.state))
          expect(left).toEqual([])
          const minutes = (Date.now() - START) / 60_000
          expect(scenario.ticks.length).toBeLessThan(minutes + 45 * fates.length + 20)
        },
      ),
      { seed: 7, numRuns: 15 },
    )
  }, 120_000)
})
