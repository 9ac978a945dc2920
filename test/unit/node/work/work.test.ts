import { randomBytes } from 'node:crypto'
import { nodeKey } from '@apus/shared/p2p'
import type { Digest, JobView } from '@apus/shared/protocol'
import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { Journal } from '../../../../node/src/work/journal.ts'
import { Work } from '../../../../node/src/work/work.ts'
import { WorkMetrics } from '../../../../node/src/work/work-metrics.ts'
import { idOf } from '../../../support/jobs.ts'
import { JournalDisk } from '../../../support/journal-disk.ts'
import { aModel, type Mishap, OneSeat, randomPiece, steadyPiece } from '../../../support/one-seat.ts'
import { quietLog } from '../../../support/p2p.ts'

/** A miner with one seat, whose process can be killed and started again over the same disk. */
class Life {
  readonly ao: OneSeat
  readonly disk = new JournalDisk()
  readonly gossiped: string[] = []
  now = 0
  #key = nodeKey(randomBytes(32))
  #pieceOf: (index: number) => Uint8Array
  #work: Work | undefined
  #alive = { yes: true }

  constructor(pieceOf: (index: number) => Uint8Array, parts: Partial<JobView> = {}) {
    this.ao = new OneSeat(parts)
    this.#pieceOf = pieceOf
  }

  get work(): Work {
    if (this.#work === undefined) throw new Error('not started')
    return this.#work
  }

  async start(): Promise<void> {
    const alive = { yes: true }
    this.#alive = alive
    const { job, me } = this.ao
    // A dead process sends nothing: whatever its old loops still try goes nowhere.
    const network = new Proxy(this.ao.client(), {
      get: (target, name) => {
        const value = Reflect.get(target, name)
        if (typeof value !== 'function') return value
        return (...args: unknown[]) => (alive.yes ? value(...args) : Promise.reject(new Error('dead')))
      },
    })
    this.#work = new Work({
      me,
      key: this.#key,
      network,
      models: new Map([[job.model, { class: job.class, model: aModel(job, this.#pieceOf) }]]),
      journal: await Journal.open(this.disk.open()),
      answers: { keep: async () => {}, find: async () => undefined, tidy: async () => {} },
      prompts: { published: id => network.prompt(id) },
      announce: async s => {
        if (alive.yes) this.gossiped.push(s.commitment)
      },
      metrics: new WorkMetrics(),
      clock: { now: () => this.now },
      log: quietLog,
      runsPerModel: 1,
    })
    this.#work.take(this.ao.job)
  }

  async kill(torn: Uint8Array): Promise<void> {
    this.#alive.yes = false
    this.disk.kill(torn)
    await this.#work?.stop(0)
  }

  /** Lets everything that can go on without news or time go on. */
  async settle(turns = 12): Promise<void> {
    for (let i = 0; i < turns; i++) await new Promise(setImmediate)
  }

  /** Time, news and a machine without mishaps, until nothing changes any more. */
  async liveOn(): Promise<void> {
    this.disk.full = false
    this.ao.mishap = 'none'
    for (let i = 0; i < 6; i++) {
      this.now += 120_000
      await this.work.start()
      this.work.take(this.ao.job)
      await this.settle(40)
    }
  }
}

type Event =
  | { readonly do: 'news' | 'old news' | 'settle' | 'deadline' | 'disk full' | 'disk room' | 'time' }
  | { readonly do: 'kill'; readonly torn: number }
  | { readonly do: 'mishap'; readonly mishap: Mishap }
  | { readonly do: 'turns'; readonly turns: number }

const event: fc.Arbitrary<Event> = fc.oneof(
  fc
    .constantFrom('news', 'old news', 'settle', 'disk full', 'disk room', 'time')
    .map(d => ({ do: d }) as Event),
  { arbitrary: fc.constant<Event>({ do: 'deadline' }), weight: 1 },
  fc.record({ do: fc.constant('kill' as const), torn: fc.nat(60) }),
  fc.record({
    do: fc.constant('mishap' as const),
    mishap: fc.constantFrom<Mishap>('request-lost', 'answer-lost'),
  }),
  {
    arbitrary: fc.record({ do: fc.constant('turns' as const), turns: fc.integer({ min: 1, max: 6 }) }),
    weight: 4,
  },
)

async function live(life: Life, events: readonly Event[], onKill: () => void): Promise<void> {
  await life.start()
  for (const e of events) {
    switch (e.do) {
      case 'news':
        life.work.take(life.ao.job)
        break
      case 'old news':
        life.work.take(life.ao.views[Math.floor(life.ao.views.length / 2)] as JobView)
        break
      case 'settle':
        await life.settle()
        break
      case 'turns':
        await life.settle(e.turns)
        break
      case 'deadline':
        life.ao.deadline()
        break
      case 'disk full':
        life.disk.full = true
        break
      case 'disk room':
        life.disk.full = false
        break
      case 'time':
        life.now += 90_000
        break
      case 'mishap':
        life.ao.mishap = e.mishap
        break
      case 'kill':
        // A line that was never synced: anything but a line's end may stand there.
        await life.kill(randomBytes(e.torn).map(byte => (byte === 10 ? 0 : byte)))
        onKill()
        await life.start()
    }
  }
}

const distinct = (life: Life) => [...new Set([...life.ao.sent, ...life.gossiped])]

describe('work', () => {
  it('computes, commits, reveals and forgets', async () => {
    const life = new Life(steadyPiece)
    await life.start()
    await life.settle(40)
    expect(life.ao.job.seats[0]?.state).toBe('committed')
    expect(life.gossiped).toEqual(life.ao.sent)
    life.ao.deadline()
    life.work.take(life.ao.job)
    await life.settle(20)
    expect(life.ao.job.state).toBe('agreed')
    expect(life.ao.opened?.count).toBe(8)
    life.ao.deadline()
    life.work.take(life.ao.job)
    await life.settle()
    expect([life.work.owed(), life.work.inHand()]).toEqual([0, []])
    await life.work.stop(0)
  })

  it('no order of news, mishaps, full disks and kills gives a second commitment, even with a faulty device', async () => {
    await fc.assert(
      fc.asyncProperty(fc.array(event, { maxLength: 40 }), async events => {
        const life = new Life(randomPiece)
        await live(life, events, () => {})
        expect(distinct(life).length).toBeLessThanOrEqual(1)
        await life.liveOn()
        await life.work.stop(0)
        const [commitment] = distinct(life)
        expect(distinct(life).length).toBeLessThanOrEqual(1)
        const seat = life.ao.job.seats[0]
        // What AO took is opened in the end, unless the deadline passed before anything was sent.
        if (commitment !== undefined && seat?.commitment === commitment && life.ao.job.state !== 'seated')
          expect(seat.resultRoot).toBeDefined()
      }),
      { numRuns: 200 },
    )
  })

  it('after the loss of the journal the miner makes and opens the same commitment again', async () => {
    await fc.assert(
      fc.asyncProperty(fc.array(event, { maxLength: 30 }), async events => {
        const life = new Life(steadyPiece)
        await live(life, events, () => {
          life.disk.bytes = new Uint8Array(0)
        })
        await life.liveOn()
        await life.work.stop(0)
        expect(distinct(life).length).toBeLessThanOrEqual(1)
        const seat = life.ao.job.seats[0]
        if (seat?.commitment !== undefined && life.ao.job.state !== 'seated')
          expect(seat.resultRoot).toBeDefined()
      }),
      { numRuns: 100 },
    )
  })

  it('commits nothing while the journal is full, and does once there is room', async () => {
    const life = new Life(steadyPiece)
    life.disk.full = true
    await life.start()
    await life.settle(40)
    expect([life.ao.sent, life.gossiped]).toEqual([[], []])
    await life.liveOn()
    expect(life.ao.sent).toHaveLength(1)
    await life.work.stop(0)
  })

  it('gives up a job whose prompt does not match its hash, and one whose prompt tokens do not match its prompt', async () => {
    const wrong: Partial<JobView>[] = [{ promptHash: idOf<Digest>() }, { promptTokens: idOf<Digest>() }]
    for (const parts of wrong) {
      const life = new Life(steadyPiece, parts)
      await life.start()
      await life.liveOn()
      expect([life.ao.sent, life.work.owed()]).toEqual([[], 0])
      await life.work.stop(0)
    }
  })

  it('stops a run whose job has ended', async () => {
    const life = new Life(steadyPiece)
    await life.start()
    life.ao.deadline()
    life.work.take(life.ao.job)
    await life.settle(40)
    expect([life.ao.sent, life.work.running, life.work.inHand()]).toEqual([[], 0, []])
    await life.work.stop(0)
  })
})
