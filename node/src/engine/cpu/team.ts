/** Words of the control memory that all threads share. */
const COMMAND = 0
const ARRIVED = 1
const PHASE = 2
const NEXT_UNIT = 3
const FINISHED = 4
const COLUMNS = 5
const CHOOSING = 6
const STOP = 7
/** Per column: sequence, position, token. */
const COLUMN_WORDS = 3
const FIRST_COLUMN = 16

/** Polls before a thread sleeps: some tens of microseconds, about what waking it costs. */
const SPINS = 4_000

/** One position to compute. */
export interface Column {
  readonly sequence: number
  readonly position: number
  readonly token: number
}

export const controlWords = (columns: number): number => FIRST_COLUMN + columns * COLUMN_WORDS

/** The commanding side. One command at a time. */
export class TeamLead {
  readonly #words: Int32Array<SharedArrayBuffer>

  constructor(words: Int32Array<SharedArrayBuffer>) {
    this.#words = words
  }

  /** Has the team compute the columns; the first `choosing` of them choose tokens. Resolves when all threads are done. */
  async command(columns: readonly Column[], choosing: number): Promise<void> {
    const words = this.#words
    words[COLUMNS] = columns.length
    words[CHOOSING] = choosing
    let at = FIRST_COLUMN
    for (const { sequence, position, token } of columns) {
      words[at++] = sequence
      words[at++] = position
      words[at++] = token
    }
    const finished = Atomics.load(words, FINISHED)
    Atomics.add(words, COMMAND, 1)
    Atomics.notify(words, COMMAND)
    while (Atomics.load(words, FINISHED) === finished) {
      const woken = Atomics.waitAsync(words, FINISHED, finished)
      if (woken.async) await woken.value
    }
  }

  /** Ends the team: threads leave their loops once they have nothing to do. */
  dismiss(): void {
    Atomics.store(this.#words, STOP, 1)
    Atomics.add(this.#words, COMMAND, 1)
    Atomics.notify(this.#words, COMMAND)
    Atomics.add(this.#words, FINISHED, 1)
    Atomics.notify(this.#words, FINISHED)
  }
}

/** One thread's side. */
export class Member {
  readonly thread: number
  readonly threads: number
  readonly #words: Int32Array<SharedArrayBuffer>
  #seen = 0

  constructor(words: Int32Array<SharedArrayBuffer>, thread: number, threads: number) {
    this.#words = words
    this.thread = thread
    this.threads = threads
  }

  /** Sleeps until there is a command; false when the team is dismissed. */
  nextCommand(): boolean {
    this.#await(COMMAND, this.#seen)
    this.#seen = Atomics.load(this.#words, COMMAND)
    return Atomics.load(this.#words, STOP) === 0
  }

  get columns(): number {
    return this.#words[COLUMNS] as number
  }

  get choosing(): number {
    return this.#words[CHOOSING] as number
  }

  sequence(column: number): number {
    return this.#words[FIRST_COLUMN + column * COLUMN_WORDS] as number
  }

  position(column: number): number {
    return this.#words[FIRST_COLUMN + column * COLUMN_WORDS + 1] as number
  }

  token(column: number): number {
    return this.#words[FIRST_COLUMN + column * COLUMN_WORDS + 2] as number
  }

  /** Does the units 0..count−1 together with the others, each once, and returns when all are done. */
  share(count: number, work: (unit: number) => void): void {
    if (this.threads === 1) {
      for (let unit = 0; unit < count; unit++) work(unit)
      return
    }
    for (;;) {
      const unit = Atomics.add(this.#words, NEXT_UNIT, 1)
      if (unit >= count) break
      work(unit)
    }
    this.#meet()
  }

  /** Tells the captain; called by every thread once per command. */
  finish(): void {
    if (this.thread !== 0) return
    Atomics.add(this.#words, FINISHED, 1)
    Atomics.notify(this.#words, FINISHED)
  }

  #meet(): void {
    const words = this.#words
    const phase = Atomics.load(words, PHASE)
    if (Atomics.add(words, ARRIVED, 1) + 1 === this.threads) {
      Atomics.store(words, ARRIVED, 0)
      Atomics.store(words, NEXT_UNIT, 0)
      Atomics.add(words, PHASE, 1)
      Atomics.notify(words, PHASE)
    } else this.#await(PHASE, phase)
  }

  /** Returns when the word is no longer `value`. */
  #await(word: number, value: number): void {
    for (let i = 0; i < SPINS; i++) if (Atomics.load(this.#words, word) !== value) return
    while (Atomics.load(this.#words, word) === value) Atomics.wait(this.#words, word, value)
  }
}
