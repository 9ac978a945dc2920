/** Runs tasks one after another in the order they came; a failed task does not hold up the next. */
export class SerialLane {
  #last: Promise<unknown> = Promise.resolve()

  run<T>(task: () => Promise<T>): Promise<T> {
    const result = this.#last.then(task)
    this.#last = result.catch(() => {})
    return result
  }
}
