import { readdirSync, rmSync } from 'node:fs'
import { rename, rm } from 'node:fs/promises'
import { join } from 'node:path'
import type { Logger } from '@apus/shared/kit'
import type { AoMessage, AoResult } from '../ao-message.ts'
import { SerialLane } from '../serial-lane.ts'
import type { AoProcess, Ledger } from '../store/ledger.ts'
import { ComputeLost, type ComputeThread } from './compute.ts'
import type { ComputeAnswer, ComputeRequest } from './compute-worker.ts'
import { environmentOf, messageOf } from './message-view.ts'
import { failure } from './resident-process.ts'

/** Evaluation time after which a process is written to disk: what a restart then has to repeat at most. */
const SNAPSHOT_AFTER_MS = 1_000
/** A snapshot may take this part of the time spent evaluating, however large the process is. */
const SNAPSHOT_SHARE = 0.05
/** About 6 MB each: the instance's touched pages and their committed copy. */
const MAX_RESIDENT = 32
/** Messages that a thread holds besides the one it works on: enough that it has work while ours waits for a processor. */
const LOOK_AHEAD = 3
/** Rebuilding is repeated when the compute thread is lost meanwhile through another process. */
const MAX_ATTEMPTS = 5

interface Home {
  readonly thread: ComputeThread
  readonly lane: SerialLane
  /** Generation of the thread under which the process was loaded, if it was. */
  generation: number | undefined
  /** Newest snapshot on disk: the slot it holds the memory after. */
  snapshot: { readonly slot: number; readonly file: string } | undefined
  /** Answers under way for the messages behind the one that is waited for. */
  ahead: Array<Promise<ComputeAnswer>>
  evaluatedMs: number
  snapshotMs: number
}

const isSnapshotDue = ({ evaluatedMs, snapshotMs }: Home): boolean =>
  evaluatedMs >= SNAPSHOT_AFTER_MS && evaluatedMs * SNAPSHOT_SHARE >= snapshotMs

/** Keeps processes resident in compute threads, rebuilds them from snapshot and log, and writes snapshots. */
export class Residence {
  readonly #ledger: Ledger
  readonly #threads: readonly ComputeThread[]
  readonly #dir: string
  readonly #authority: string
  readonly #log: Logger
  readonly #homes = new Map<string, Home>()
  /** Loaded processes, least recently used first. */
  readonly #resident = new Set<string>()
  readonly #found = new Map<string, Array<{ slot: number; assignment: string; file: string }>>()
  #nextThread = 0
  #closed = false

  constructor(parts: {
    readonly ledger: Ledger
    readonly threads: readonly ComputeThread[]
    readonly dir: string
    readonly authority: string
    readonly log: Logger
  }) {
    this.#ledger = parts.ledger
    this.#threads = parts.threads
    this.#dir = parts.dir
    this.#authority = parts.authority
    this.#log = parts.log
    for (const name of readdirSync(this.#dir)) {
      const [process, slot, assignment, ...suffix] = name.split('.')
      const file = join(this.#dir, name)
      if (!process || !assignment || suffix.join('.') !== 'snapshot') rmSync(file)
      else
        this.#found.set(process, [
          ...(this.#found.get(process) ?? []),
          { slot: Number(slot), assignment, file },
        ])
    }
  }

  /**
   * Evaluates what is scheduled for a process, in order, until nothing is left or something else waits for it. Passes
   * each result to `commit`, which must have counted it when it returns: whatever rebuilds the process next repeats
   * exactly what was counted. A message that ends the compute thread gives an `Error`.
   */
  evaluate(process: AoProcess, commit: (result: AoResult) => void): Promise<void> {
    const home = this.#home(process)
    return home.lane.run(async () => {
      try {
        do {
          const result = await this.#attempt(home, process, () => this.#evaluateNext(home, process))
          if (this.#closed) return
          commit(result)
          if (home.ahead.length === 0 && isSnapshotDue(home))
            await this.#snapshot(home, process).catch(error => {
              if (!this.#closed)
                this.#log.warn(
                  { err: error, process: process.id },
                  'A process snapshot could not be written.',
                )
            })
        } while (home.ahead.length > 0 || (!home.lane.contended && process.evaluated < process.slots.length))
      } catch (error) {
        // The thread may hold effects that were never counted.
        home.generation = undefined
        throw error
      }
    })
  }

  dryRun(process: AoProcess, message: AoMessage): Promise<AoResult> {
    const home = this.#home(process)
    const request = { kind: 'dry-run', process: process.id, message } as const
    return home.lane.run(() => this.#attempt(home, process, () => this.#ask(home, request)))
  }

  async close(): Promise<void> {
    this.#closed = true
    for (const thread of this.#threads) await thread.close()
  }

  async #attempt(home: Home, process: AoProcess, ask: () => Promise<ComputeAnswer>): Promise<AoResult> {
    for (let attempt = 1; ; attempt++) {
      let loaded = false
      try {
        await this.#load(home, process)
        loaded = true
        const { result, ms } = await ask()
        home.evaluatedMs += ms
        return result ?? failure('The compute thread gave no result.')
      } catch (error) {
        if (!(error instanceof ComputeLost)) throw error
        if (loaded && error.culprit) return failure(error.message)
        if (attempt >= MAX_ATTEMPTS) throw error
      }
    }
  }

  /** The answer for the next message, after which the thread finds the one behind it already there. */
  #evaluateNext(home: Home, process: AoProcess): Promise<ComputeAnswer> {
    const answer = home.ahead.shift() ?? this.#hand(home, process, process.evaluated)
    const most = home.lane.contended || isSnapshotDue(home) ? 0 : LOOK_AHEAD
    while (home.ahead.length < most) {
      const nonce = process.evaluated + 1 + home.ahead.length
      if (nonce >= process.slots.length) break
      home.ahead.push(this.#hand(home, process, nonce))
    }
    return answer
  }

  #hand(home: Home, process: AoProcess, nonce: number): Promise<ComputeAnswer> {
    const message = this.#message(process, nonce)
    const answer = this.#ask(home, { kind: 'evaluate', process: process.id, message })
    // Lost with the thread before anybody waited for it, it is handed over again after the rebuild.
    answer.catch(() => {})
    return answer
  }

  #message(process: AoProcess, nonce: number): AoMessage {
    const slot = process.slots[nonce]
    const item = slot && this.#ledger.item(slot.message)
    if (!item) throw new Error(`The ledger lacks the message of slot ${nonce} of process ${process.id}.`)
    return messageOf(item, process, nonce, slot, this.#authority)
  }

  #ask(home: Home, request: ComputeRequest): Promise<ComputeAnswer> {
    return home.thread.request(request, home.generation ?? home.thread.generation)
  }

  async #load(home: Home, process: AoProcess): Promise<void> {
    this.#resident.delete(process.id)
    this.#resident.add(process.id)
    if (home.generation === home.thread.generation) return
    this.#makeRoom()
    const generation = home.thread.generation
    const environment = environmentOf(process, this.#authority)
    const load = { kind: 'load', process: process.id, environment } as const
    const from = home.snapshot && home.snapshot.slot < process.evaluated ? home.snapshot : undefined
    let next = 0
    try {
      if (from) {
        await home.thread.request({ ...load, snapshot: from.file }, generation)
        next = from.slot + 1
      } else await home.thread.request(load, generation)
    } catch (error) {
      if (!from || error instanceof ComputeLost) throw error
      this.#log.warn(
        { err: error, process: process.id },
        'A process snapshot cannot be read, so every message is evaluated again.',
      )
      home.snapshot = undefined
      await rm(from.file, { force: true })
      await home.thread.request(load, generation)
    }
    for (; next < process.evaluated; next++) await this.#repeat(home, process, next, generation)
    home.ahead = []
    home.generation = generation
  }

  async #repeat(home: Home, process: AoProcess, nonce: number, generation: number): Promise<void> {
    if (process.slots[nonce]?.failed) return
    const message = this.#message(process, nonce)
    const answer = await home.thread.request({ kind: 'evaluate', process: process.id, message }, generation)
    home.evaluatedMs += answer.ms
    if (answer.result?.Error !== undefined)
      this.#log.error(
        { process: process.id, slot: nonce },
        'A message that was evaluated again gave another result.',
      )
  }

  async #snapshot(home: Home, process: AoProcess): Promise<void> {
    if (home.generation !== home.thread.generation) return
    const slot = process.evaluated - 1
    const assignment = process.slots[slot]?.assignment
    const file = join(this.#dir, `${process.id}.${slot}.${assignment}.snapshot`)
    const { ms } = await this.#ask(home, { kind: 'snapshot', process: process.id, file: `${file}.tmp` })
    await this.#ledger.durable()
    await rename(`${file}.tmp`, file)
    if (home.snapshot && home.snapshot.file !== file) await rm(home.snapshot.file, { force: true })
    home.snapshot = { slot, file }
    home.evaluatedMs = 0
    home.snapshotMs = ms
  }

  #makeRoom(): void {
    for (const id of this.#resident) {
      if (this.#resident.size <= MAX_RESIDENT) return
      const process = this.#ledger.processes.get(id)
      const home = this.#homes.get(id)
      this.#resident.delete(id)
      if (process && home)
        home.lane
          .run(() => this.#unload(home, process))
          .catch(error => {
            if (!this.#closed) this.#log.warn({ err: error, process: id }, 'A process could not be unloaded.')
          })
    }
  }

  async #unload(home: Home, process: AoProcess): Promise<void> {
    if (this.#resident.has(process.id) || home.generation !== home.thread.generation) return
    if (home.snapshot?.slot !== process.evaluated - 1) await this.#snapshot(home, process)
    await this.#ask(home, { kind: 'unload', process: process.id })
    home.generation = undefined
  }

  #home(process: AoProcess): Home {
    const known = this.#homes.get(process.id)
    if (known) return known
    const thread = this.#threads[this.#nextThread++ % this.#threads.length]
    if (!thread) throw new Error('There is no compute thread.')
    const home: Home = {
      thread,
      lane: new SerialLane(),
      generation: undefined,
      snapshot: this.#adopt(process),
      ahead: [],
      evaluatedMs: 0,
      snapshotMs: 0,
    }
    this.#homes.set(process.id, home)
    return home
  }

  /** The newest snapshot of this very history; one from a log that lost its tail does not count. */
  #adopt(process: AoProcess): Home['snapshot'] {
    const found = this.#found.get(process.id) ?? []
    this.#found.delete(process.id)
    const usable = found
      .filter(
        ({ slot, assignment }) => slot < process.evaluated && process.slots[slot]?.assignment === assignment,
      )
      .sort((a, b) => b.slot - a.slot)
    for (const { file } of found) if (file !== usable[0]?.file) rmSync(file, { force: true })
    return usable[0]
  }
}
