const SPINNER = ['⠋', '⠙', '⠹', '⠸', '⠼', '⠴', '⠦', '⠧', '⠇', '⠏']

/** Says what the set-up is doing: one live line in a terminal, one plain line per step elsewhere. */
export class Progress {
  constructor(stream) {
    this.stream = stream
    this.turn = 0
  }

  /**
   * Runs `work(report)` and gives its result; shows its reports, and that it is done when it took noticeable time.
   * Of a result with `missing`, what could not be had, it leaves the telling to the caller.
   * @template T
   * @param {string} name
   * @param {(report: (text: string) => void) => T | Promise<T>} work
   * @returns {Promise<T>}
   */
  async step(name, work) {
    const started = Date.now()
    let detail = ''
    let announced = false
    const draw = () => {
      this.turn = (this.turn + 1) % SPINNER.length
      this.#live(`${SPINNER[this.turn]} ${name}${detail === '' ? '' : ` · ${detail}`}`)
      if (!this.stream.isTTY && !announced && Date.now() - started > 500) {
        announced = true
        this.stream.write(`… ${name}\n`)
      }
    }
    const timer = setInterval(draw, 100)
    try {
      const result = await work(text => {
        detail = String(text)
      })
      const seconds = (Date.now() - started) / 1000
      const said = typeof result === 'string' && !result.includes('/') ? ` · ${result}` : ''
      if (seconds > 0.5 && result?.missing === undefined)
        this.#say(`✓ ${name}${said} (${seconds.toFixed(1)} s)`)
      return result
    } finally {
      clearInterval(timer)
      this.#live('')
    }
  }

  lack(sentence) {
    this.#say(`– ${sentence}`)
  }

  fail(sentence) {
    this.#say(`✗ ${sentence}`)
  }

  end() {
    this.#live('')
  }

  #live(text) {
    if (!this.stream.isTTY) return
    this.stream.write(`\r\x1b[2K${text}`)
  }

  #say(text) {
    this.#live('')
    this.stream.write(`${text}\n`)
  }
}
