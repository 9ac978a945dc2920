/** Runs tasks one after another in the order they came; a failed task does not hold up the next. */
export class SerialLane {
  #last: Promise<unknown> = Promise.resolve()
  #unfinished = 0

  /** Whether a task waits for the one that runs. */
  get contended(): boolean {
    return this.#unfinished > 1
  }

  run<T>(task: () => Promise<T>): Promise<T> {
    this.#unfinished++
    const result = this.#last.then(task).finally(() => this.#unfinished--)
    this.#last = result.catch(() => {})
    return result
  }
}
