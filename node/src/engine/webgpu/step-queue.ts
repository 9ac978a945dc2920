import { ApusError } from '@apus/shared/kit'
import type { RunRequest } from '@apus/shared/machine'
import type { DecodeColumn, Decoded, GpuModel } from './gpu-model.ts'

/**
 * Steps that are submitted before the oldest one's token is read: the device then never waits for the host. What it
 * computes past a run's end is thrown away.
 */
const STEPS_AHEAD = 2

/** A run that is being computed. */
export interface RunningSequence {
  /** Chooses up to `most` tokens; `onToken` gets them in order and says whether to go on. */
  decode(most: number, onToken: (decoded: Decoded) => boolean): Promise<void>
  /** Leaf hashes of the K/V pages of positions 0..written-1. */
  pageLeaves(written: number): Promise<Uint8Array[]>
  /** Those pages themselves. */
  pages(written: number): Promise<Uint8Array[]>
  leave(): void
}

interface Member {
  readonly sequence: number
  readonly prompt: readonly number[]
  readonly signal: AbortSignal
  /** Prompt positions submitted. */
  fed: number
  /** Decode steps submitted, and how many there may be. */
  submitted: number
  most: number
  onToken: (decoded: Decoded) => boolean
  settle: (error?: unknown) => void
  ended: boolean
}

interface Waiting {
  readonly enter: () => boolean
  readonly reject: (error: unknown) => void
}

/** Computes the steps of all runs of one model together, in one stream of submissions. */
export class StepQueue {
  readonly #model: GpuModel
  readonly #members = new Set<Member>()
  readonly #waiting: Waiting[] = []
  #loop: Promise<void> | undefined
  #closed = false

  constructor(model: GpuModel) {
    this.#model = model
  }

  /** Waits until the model has room for the run. Errors: `aborted`. */
  enter(request: RunRequest, positions: number, signal: AbortSignal): Promise<RunningSequence> {
    const { promise, resolve, reject } = Promise.withResolvers<RunningSequence>()
    const enter = () => {
      if (this.#closed || signal.aborted) {
        reject(stopped())
        return true
      }
      const { sampler, noise, prompt } = request
      const sequence = this.#model.openSequence(positions, sampler, noise, prompt)
      if (sequence === undefined) return false
      resolve(this.#running(sequence, prompt, signal))
      return true
    }
    if (this.#waiting.length > 0 || !enter()) this.#waiting.push({ enter, reject })
    return promise
  }

  /** Ends all runs with `aborted` and waits for what was submitted. */
  async close(): Promise<void> {
    this.#closed = true
    for (const { reject } of this.#waiting.splice(0)) reject(stopped())
    for (const member of this.#members) this.#end(member, stopped())
    await this.#loop
  }

  #running(sequence: number, prompt: readonly number[], signal: AbortSignal): RunningSequence {
    return {
      decode: (most, onToken) => {
        if (this.#closed) return Promise.reject(stopped())
        const { promise, resolve, reject } = Promise.withResolvers<void>()
        const settle = (error?: unknown) => (error === undefined ? resolve() : reject(error))
        this.#members.add({
          sequence,
          prompt,
          signal,
          fed: 0,
          submitted: 0,
          most,
          onToken,
          settle,
          ended: false,
        })
        this.#start()
        return promise
      },
      pageLeaves: written => this.#model.pageDigests(sequence, written),
      pages: written => this.#model.pages(sequence, written),
      leave: () => {
        this.#model.closeSequence(sequence)
        while (this.#waiting[0]?.enter()) this.#waiting.shift()
      },
    }
  }

  /** One loop at a time. Runs that came while it awaited the last steps of others have the next one. */
  #start(): void {
    this.#loop ??= this.#run().finally(() => {
      this.#loop = undefined
      if (this.#members.size > 0) this.#start()
    })
  }

  async #run(): Promise<void> {
    const ahead: Promise<void>[] = []
    try {
      while (this.#members.size > 0) {
        for (const member of this.#members) if (member.signal.aborted) this.#end(member, stopped())
        if (this.#members.size === 0) break
        const steps = [this.#prefill(), this.#decode()].filter(step => step !== undefined)
        // A rejection is met where the step is awaited, be it later.
        for (const step of steps) step.catch(() => {})
        ahead.push(...steps)
        if (ahead.length === 0) throw new RangeError('a run has no step left and no end')
        if (ahead.length > STEPS_AHEAD || steps.length === 0) await ahead.shift()
      }
      await Promise.all(ahead)
    } catch (error) {
      for (const member of this.#members) this.#end(member, error)
      await Promise.allSettled(ahead)
    }
  }

  /** One batch of the first prompt that is not fed up to its last token. */
  #prefill(): Promise<void> | undefined {
    for (const member of this.#members) {
      const { sequence, prompt, fed } = member
      const remaining = prompt.length - 1 - fed
      if (remaining === 0) continue
      const count = this.#model.prefillBatch(fed, remaining)
      member.fed += count
      return this.#model.prefill(sequence, fed, prompt.slice(fed, fed + count))
    }
    return undefined
  }

  /** One step of every run that is past its prompt. */
  #decode(): Promise<void> | undefined {
    const ready = [...this.#members].filter(
      ({ prompt, fed, submitted, most }) => fed === prompt.length - 1 && submitted < most,
    )
    if (ready.length === 0) return undefined
    const columns = ready.map((member): DecodeColumn => {
      const position = member.prompt.length - 1 + member.submitted
      const token = member.submitted === 0 ? (member.prompt.at(-1) ?? 0) : 'chosen'
      member.submitted++
      return { sequence: member.sequence, position, token }
    })
    return this.#model.decode(columns).then(decoded => {
      for (const [i, member] of ready.entries()) {
        const result = decoded[i]
        if (result !== undefined && !member.ended) this.#deliver(member, result)
      }
    })
  }

  #deliver(member: Member, decoded: Decoded): void {
    try {
      if (!member.onToken(decoded)) this.#end(member)
    } catch (error) {
      this.#end(member, error)
    }
  }

  #end(member: Member, error?: unknown): void {
    member.ended = true
    this.#members.delete(member)
    member.settle(error)
  }
}

const stopped = (): ApusError => new ApusError('aborted', 'The run was stopped.', { retry: true })
