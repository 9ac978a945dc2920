import type { TickReason } from '@apus/shared/rounds'
import { Counter, Gauge, Histogram, Registry } from 'prom-client'
import type { Answer } from './jobs/hand-out.ts'
import type { Phase } from './rounds/phase-watch.ts'

/** From a message on a local AO to the longest window of a public network, in seconds. */
const PHASE_SECONDS = [0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 300, 900, 3600]

/** What the coordinator counts. */
export class CoordinatorMetrics {
  readonly registry = new Registry()
  readonly #ticks = new Counter({
    name: 'apus_coordinator_ticks_total',
    help: 'Ticks sent, by what they were for and whether they reached the network.',
    labelNames: ['reason', 'outcome'],
    registers: [this.registry],
  })
  readonly #dispatches = new Counter({
    name: 'apus_coordinator_dispatches_total',
    help: 'Tasks brought to miners, by their answer.',
    labelNames: ['answer'],
    registers: [this.registry],
  })
  readonly #commitments = new Counter({
    name: 'apus_coordinator_commitments_total',
    help: 'Signed commitments that arrived by gossip or sync.',
    registers: [this.registry],
  })
  readonly #phases = new Histogram({
    name: 'apus_coordinator_stage_seconds',
    help: 'How long jobs waited for their draw, commitments, audit, reveals and the end of their window.',
    labelNames: ['stage'],
    buckets: PHASE_SECONDS,
    registers: [this.registry],
  })

  /** Registers a gauge that is read when scraped; with a label, `read` gives a value for each of its values. */
  gauge(name: string, help: string, read: () => number): void
  gauge(name: string, help: string, read: () => ReadonlyMap<string, number>, label: string): void
  gauge(name: string, help: string, read: () => number | ReadonlyMap<string, number>, label?: string): void {
    new Gauge({
      name,
      help,
      labelNames: label === undefined ? [] : [label],
      registers: [this.registry],
      collect() {
        const value = read()
        if (typeof value === 'number') return this.set(value)
        this.reset()
        for (const [name, count] of value) this.set({ [label as string]: name }, count)
      },
    })
  }

  ticked(reason: TickReason, error: unknown): void {
    this.#ticks.inc({ reason, outcome: error === undefined ? 'sent' : 'failed' })
  }

  dispatched(answer: Answer): void {
    this.#dispatches.inc({ answer })
  }

  committed(): void {
    this.#commitments.inc()
  }

  phaseLeft(stage: Phase, ms: number): void {
    this.#phases.observe({ stage }, ms / 1000)
  }
}
