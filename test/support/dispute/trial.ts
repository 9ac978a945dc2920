import {
  accusedAnswer,
  challengerMove,
  type DisputeMessage,
  openingMove,
  SeatAnswers,
} from '@apus/shared/dispute'
import { jobNoise, promptTokensRoot, type RunLeaves, type RunRequest } from '@apus/shared/machine'
import {
  type DisputeView,
  encodeTokens,
  type Result,
  type RevealedResult,
  type SamplerSettings,
} from '@apus/shared/protocol'
import { OracleReplay, provingBundle, type Replay } from '@apus/shared/replay'
import type { LuaValue } from '../../../contracts-lua/tools/bundle.ts'
import { toBase64 } from '../../../shared/src/hashing/bytes.ts'
import { samplerSettings } from '../../../shared/src/protocol/sampler.ts'
import { digestOf, type Outcome, type World } from '../contracts.ts'
import {
  BASE_PRICE,
  type Cast,
  JOB_TAGS,
  type Miner,
  seated,
  setUp,
  submit,
  TOKEN_PRICE,
  tick,
} from '../contracts-cast.ts'
import { type MemoryBundle, type ModelShape, randomBundle } from '../machine/random-model.ts'
import { reading, resultOf } from './play.ts'

/** A model small enough that a position is traced in milliseconds, with everything that the machine has. */
export const TRIAL_SHAPE: ModelShape = {
  name: 'trial',
  layers: 2,
  width: 40,
  heads: 4,
  kvHeads: 2,
  headSize: 8,
  hidden: 70,
  vocab: 200,
  context: 256,
  tied: false,
}

/** So many layers that stages and operations of a position do not fit into one answer. */
export const DEEP_SHAPE: ModelShape = {
  ...TRIAL_SHAPE,
  name: 'deep',
  layers: 66,
  width: 32,
  heads: 1,
  kvHeads: 1,
  hidden: 32,
}

export interface TrialOptions {
  readonly shape?: ModelShape
  readonly seed?: number
  readonly promptLength?: number
  readonly maxTokens?: number
  readonly sampler?: Partial<SamplerSettings>
  readonly stop?: readonly string[]
  readonly redundancy?: number
  readonly miners?: number
  readonly purse?: bigint
  readonly parameters?: Readonly<Record<string, LuaValue>>
}

/** What a seat of a trial computed. */
export interface Side {
  readonly miner: Miner
  readonly run: Replay
  readonly result: RevealedResult
}

/** What a liar reveals of itself when it is not what its run gives. */
export type Claim = Pick<Side, 'run' | 'result'>

/** A job whose seats run a real model on the oracle: what they reveal can be disputed to the last chunk. */
export class Trial {
  readonly cast: Cast
  readonly job: string
  readonly bundle: MemoryBundle
  readonly request: RunRequest
  readonly honest: OracleReplay
  readonly sides = new Map<string, Side>()

  private constructor(
    cast: Cast,
    job: string,
    bundle: MemoryBundle,
    request: RunRequest,
    honest: OracleReplay,
  ) {
    this.cast = cast
    this.job = job
    this.bundle = bundle
    this.request = request
    this.honest = honest
  }

  /** Lists the model, submits a job and lets its seats be drawn. */
  static async open(options: TrialOptions = {}): Promise<Trial> {
    const shape = options.shape ?? TRIAL_SHAPE
    const bundle = randomBundle(shape, options.seed ?? 1)
    const cast = await setUp({
      miners: options.miners ?? 4,
      bundle,
      maxContext: shape.context ?? 512,
      ...(options.purse === undefined ? {} : { purse: options.purse }),
      ...(options.parameters === undefined ? {} : { parameters: options.parameters }),
    })
    return Trial.submit(cast, bundle, options)
  }

  /** Submits one more job to the same network. */
  static async submit(cast: Cast, bundle: MemoryBundle, options: TrialOptions = {}): Promise<Trial> {
    const vocab = options.shape?.vocab ?? TRIAL_SHAPE.vocab ?? 70
    const sampler = samplerSettings.parse(options.sampler ?? {})
    const stop = options.stop ?? []
    const maxTokens = options.maxTokens ?? 4
    const prompt = Array.from({ length: options.promptLength ?? 5 }, (_, i) => (i * 37 + 11) % vocab)
    const redundancy = options.redundancy ?? 2
    const price = (BASE_PRICE + TOKEN_PRICE * BigInt(maxTokens)) * BigInt(redundancy + 1)
    const tags = {
      ...JOB_TAGS,
      'X-Model': bundle.root,
      'X-Max-Tokens': String(maxTokens),
      'X-Redundancy': String(redundancy),
      'X-Sampler': JSON.stringify(sampler),
      'X-Stop': JSON.stringify(stop),
    }
    const job = await submit(cast, tags, price)
    await tick(cast)
    const request: RunRequest = {
      prompt,
      sampler,
      noise: jobNoise(job, sampler.seed),
      maxTokens,
      stop: stop.map(text => new Uint8Array(Buffer.from(text))),
    }
    const honest = await OracleReplay.run(proving(bundle), request, new AbortController().signal)
    return new Trial(cast, job, bundle, request, honest)
  }

  get world(): World {
    return this.cast.world
  }

  /** A run of something else than what was asked for. */
  run(bundle: MemoryBundle, changes: Partial<RunRequest> = {}): Promise<OracleReplay> {
    return OracleReplay.run(proving(bundle), { ...this.request, ...changes }, new AbortController().signal)
  }

  /** Commits and reveals for all seats: the first one by `lie`, the audit seat and all others honestly. */
  compute(lie?: Replay, finish?: 'stop' | 'length', liars = 1): Promise<Side[]> {
    return this.computeWith(lie === undefined ? [] : Array.from({ length: liars }, () => lie), finish)
  }

  /** The same with a lie for each of the first seats; the liars come first. */
  async computeWith(lies: readonly (Replay | Claim)[], finish?: 'stop' | 'length'): Promise<Side[]> {
    const liar: string[] = []
    for (let i = 0; i < 40 && this.world.job(this.job).state !== 'revealing'; i++) {
      const [next] = seated(this.cast, this.job)
      if (!next) {
        await tick(this.cast)
        continue
      }
      const lie = lies[liar.length]
      if (lie) liar.push(next.address)
      const { run, result } = claimOf(lie ?? this.honest, lie && finish)
      this.sides.set(next.address, { miner: next, run, result })
      await next.commit(this.job, this.resultOf(run, result))
    }
    for (const side of this.sides.values()) {
      const outcome = await this.reveal(side)
      if (outcome.code) throw new Error(`reveal refused: ${outcome.code}`)
    }
    const isLiar = (side: Side) => liar.includes(side.miner.address)
    return [...this.sides.values()].sort((a, b) => Number(isLiar(b)) - Number(isLiar(a)))
  }

  /** Reveals inline, or of an answer whose pieces are not under its root the id of where it is said to be. */
  reveal({ miner, run, result: revealed }: Side): Promise<Outcome> {
    const result = this.resultOf(run, revealed)
    if (resultOf(run).answerRoot === result.answerRoot) return miner.reveal(this.job, result)
    const tags = { 'Answer-Id': digestOf('an answer'), 'Answer-Size': '1' }
    return miner.reveal(this.job, result, tags, JSON.stringify({ tokens: result.tokens }))
  }

  resultOf(run: Replay, result: RevealedResult): Result & { tokens: string; pieces: string[] } {
    return {
      promptTokens: promptTokensRoot(this.request.prompt),
      ...result,
      tokens: toBase64(encodeTokens(run.tokens)),
      pieces: run.pieces.map(piece => Buffer.from(piece).toString('base64')),
    }
  }

  send(from: string, message: DisputeMessage): Promise<Outcome> {
    const data = message.data === undefined ? '' : JSON.stringify(message.data)
    return this.world.send(from, this.world.network, message.action, message.tags, data)
  }

  /** The opening that a run of the challenger calls for. */
  opening(accused: Side, run: Replay, leaves?: RunLeaves): DisputeMessage {
    const { result, miner } = accused
    const claim = { job: this.job, accused: miner.address, result, leaves }
    const message = openingMove(reading(run, accused.run.tokens), claim)
    if (!message) throw new Error('there is nothing to accuse')
    return message
  }

  /** The opening, sent; returns the dispute's id or the refusal's code. */
  async accuse(challenger: string, accused: Side, run: Replay, leaves?: RunLeaves): Promise<Outcome> {
    return this.send(challenger, this.opening(accused, run, leaves))
  }

  /** An opening by a side against another one that shows the prompt, whatever they have said. */
  async openingOf(by: Side, accused: Side): Promise<DisputeMessage> {
    const other = await this.run(this.bundle, { maxTokens: this.request.maxTokens + 1 })
    const { result, miner } = accused
    const message = openingMove(by.run, {
      job: this.job,
      accused: miner.address,
      result: { ...result, kvRoot: resultOf(other).kvRoot },
      leaves: undefined,
    })
    if (!message) throw new Error('there is nothing to accuse')
    return message
  }

  said(accused: string): SeatAnswers {
    return new SeatAnswers(this.job, accused, key => this.world.entry('evidence', key))
  }

  async play(id: string, challenger: Replay, accused: Side, options: PlayOptions = {}): Promise<Played> {
    const messages: DisputeMessage[] = []
    const refusals: string[] = []
    const began = this.world.evaluationMs
    for (let view = this.world.dispute(id); view.state === 'running'; view = this.world.dispute(id)) {
      const by = view.turn === 'accused' ? view.accused : view.challenger
      const own = this.#moveOf(view, challenger, accused)
      const message = own && (options.tamper ? options.tamper(view, own) : own)
      const outcome = message && (await this.send(by, message))
      if (message && outcome && !outcome.code) {
        if (outcome.error) throw new Error(outcome.error)
        messages.push(message)
        if (messages.length > 300) throw new Error('the dispute does not end')
        continue
      }
      refusals.push(outcome?.code ?? 'silent')
      if (options.stall) break
      await this.world.pass(Math.max(1, (view.deadline ?? 0) - this.networkTime()))
    }
    const sizes = messages.map(message => JSON.stringify(message.data ?? '').length)
    return {
      view: this.world.dispute(id),
      messages,
      bytes: sizes.reduce((a, b) => a + b, 0),
      largest: Math.max(0, ...sizes),
      evaluationMs: this.world.evaluationMs - began,
      refusals,
    }
  }

  networkTime(): number {
    return (JSON.parse(String(this.world.published.network.clock)) as { network: number }).network
  }

  #moveOf(view: DisputeView, challenger: Replay, accused: Side): DisputeMessage | undefined {
    try {
      if (view.turn === 'accused') return accusedAnswer(view, accused.run)
      const answers = this.said(view.accused)
      const run = reading(challenger, accused.run.tokens)
      return challengerMove(view, run, { result: accused.result, answers })
    } catch (error) {
      if ((error as { code?: string }).code === undefined && !(error instanceof RangeError)) throw error
      return undefined
    }
  }

  /** Everything that is left of the job happens. */
  async finish(): Promise<void> {
    for (let i = 0; i < 60; i++) {
      if (['settled', 'refunded', 'expired', 'void'].includes(this.world.job(this.job).state)) return
      await this.world.pass(600_000)
    }
    throw new Error('the job does not end')
  }
}

export interface PlayOptions {
  /** Changes or withholds a message before it is sent. */
  readonly tamper?: (view: DisputeView, message: DisputeMessage) => DisputeMessage | undefined
  /** Returns when a party says nothing, instead of letting its time pass. */
  readonly stall?: boolean
}

export interface Played {
  readonly view: DisputeView
  readonly messages: readonly DisputeMessage[]
  readonly bytes: number
  readonly largest: number
  readonly evaluationMs: number
  readonly refusals: readonly string[]
}

const claimOf = (lie: Replay | Claim, finish?: 'stop' | 'length'): Claim =>
  'result' in lie ? lie : { run: lie, result: resultOf(lie, finish) }

const proving = (bundle: MemoryBundle) => provingBundle(bundle.root, bundle.leaves)
