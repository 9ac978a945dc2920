import { Worker } from 'node:worker_threads'
import { ApusError } from '@apus/shared/kit'
import type { Manifest } from '@apus/shared/machine'
import type { MemoryPlan } from './memory-plan.ts'
import { type Column, controlWords, TeamLead } from './team.ts'
import type { ThreadOrders } from './thread.ts'

interface Command {
  readonly columns: readonly Column[]
  /** The runs of the first columns, which choose tokens. */
  readonly choosing: readonly unknown[]
}

/** The computing threads of one model. They sleep while there is nothing to compute. */
export class ThreadTeam {
  readonly #lead: TeamLead
  readonly #workers: readonly Worker[]
  readonly #failed: Promise<never>
  #turn: Promise<unknown> = Promise.resolve()
  #closed = false

  constructor(shape: Manifest, plan: MemoryPlan, memories: readonly WebAssembly.Memory[]) {
    const control = new Int32Array(new SharedArrayBuffer(controlWords(plan.limits.columns) * 4))
    this.#lead = new TeamLead(control)
    this.#workers = Array.from({ length: plan.limits.threads }, (_, thread) => {
      const orders: ThreadOrders = { shape, plan, memories, control, thread }
      return new Worker(new URL('./thread.ts', import.meta.url), { workerData: orders })
    })
    this.#failed = new Promise((_, reject) => {
      const fail = (cause: unknown): void =>
        reject(
          new ApusError('engine-failed', 'A computing thread ended unexpectedly.', { retry: true, cause }),
        )
      for (const worker of this.#workers) {
        worker.unref()
        worker.on('error', fail)
        worker.on('exit', fail)
      }
    })
    this.#failed.catch(() => {})
  }

  /** Computes what `prepare` gives when all earlier commands are done, and gives it back. */
  compute<T extends Command>(prepare: () => T): Promise<T> {
    const done = this.#turn.then(async () => {
      if (this.#closed) throw new ApusError('engine-failed', 'The model is closed.', { retry: true })
      const command = prepare()
      const { columns, choosing } = command
      if (columns.length > 0) await Promise.race([this.#lead.command(columns, choosing.length), this.#failed])
      return command
    })
    this.#turn = done.catch(() => {})
    return done
  }

  /** Resolves when nothing is being computed. */
  async idle(): Promise<void> {
    await this.#turn
  }

  async close(): Promise<void> {
    if (this.#closed) return
    this.#closed = true
    await this.#turn
    this.#lead.dismiss()
    await Promise.all(this.#workers.map(worker => worker.terminate()))
  }
}
