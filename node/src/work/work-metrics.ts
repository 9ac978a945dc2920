import { Counter, Gauge, Histogram, Registry } from 'prom-client'

/** From a token or two to the longest answer on a slow machine, in seconds. */
const RUN_SECONDS = [0.25, 0.5, 1, 2, 5, 10, 30, 60, 120, 300, 600]

/** What the miner counts of its work. */
export class WorkMetrics {
  readonly registry = new Registry()
  readonly #events = new Counter({
    name: 'apus_miner_jobs_total',
    help: 'Steps done for jobs: computed, committed, revealed.',
    labelNames: ['step'],
    registers: [this.registry],
  })
  readonly #abstained = new Counter({
    name: 'apus_miner_abstained_total',
    help: 'Seats for which no commitment was made, by reason.',
    labelNames: ['code'],
    registers: [this.registry],
  })
  readonly #failed = new Counter({
    name: 'apus_miner_failures_total',
    help: 'Runs and messages that failed, by code.',
    labelNames: ['code'],
    registers: [this.registry],
  })
  readonly #tokens = new Counter({
    name: 'apus_miner_tokens_total',
    help: 'Tokens read and chosen.',
    labelNames: ['kind'],
    registers: [this.registry],
  })
  readonly #seconds = new Histogram({
    name: 'apus_miner_run_seconds',
    help: 'Duration of runs.',
    buckets: RUN_SECONDS,
    registers: [this.registry],
  })

  /** Registers a gauge that is read when scraped. */
  gauge(name: string, help: string, read: () => number): void {
    new Gauge({
      name,
      help,
      registers: [this.registry],
      collect() {
        this.set(read())
      },
    })
  }

  computed(run: { readonly tookMs: number; readonly tokens: number; readonly promptTokens: number }): void {
    this.#events.inc({ step: 'computed' })
    this.#tokens.inc({ kind: 'chosen' }, run.tokens)
    this.#tokens.inc({ kind: 'prompt' }, run.promptTokens)
    this.#seconds.observe(run.tookMs / 1000)
  }

  committed(): void {
    this.#events.inc({ step: 'committed' })
  }

  revealed(): void {
    this.#events.inc({ step: 'revealed' })
  }

  abstained(code: string): void {
    this.#abstained.inc({ code })
  }

  failed(code: string): void {
    this.#failed.inc({ code })
  }
}
