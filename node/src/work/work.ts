import { ApusError, backoff, type Clock, describeError, errorCode, type Logger, Loop } from '@apus/shared/kit'
import type { NodeKey } from '@apus/shared/p2p'
import {
  type Address,
  ENDED,
  type JobId,
  type JobView,
  MAX_INLINE_ANSWER_BYTES,
  type SeatView,
  signCommitment,
} from '@apus/shared/protocol'
import type { AnswerStore } from './answer-store.ts'
import { isOlder } from './job-order.ts'
import type { Computed, Journal } from './journal.ts'
import type { LeafStore } from './leaf-store.ts'
import { nextStep, type Step, seatOf } from './next-step.ts'
import type { Announce, Network, PromptSource, ServedModels } from './ports.ts'
import { findPrompt } from './prompt.ts'
import { runJob, saltKey } from './run-job.ts'
import { RunQueue } from './run-queue.ts'
import type { WorkMetrics } from './work-metrics.ts'

/** Every job in hand is looked at again this often: resends, retries, a disk that has room again. */
const LOOK_INTERVAL_MS = 5_000
/** A job that brought no news for this long is read from AO. */
const REFRESH_AFTER_MS = 30_000
/** What was read from AO this shortly ago needs no second look before a run. */
const FRESH_MS = 3_000
const FIRST_RETRY_MS = 1_000
const LONGEST_RETRY_MS = 60_000

/** AO took this message before: the first commitment and the first reveal of a seat count. */
const TAKEN_BEFORE = new Set(['already-committed', 'already-revealed'])
/** AO will never take the message: the seat or the job is gone, or what is sent is wrong. */
const FINAL_ON_AO = new Set([
  'job-ended',
  'unknown-job',
  'no-seat',
  'seat-lost',
  'not-committed',
  'too-late-to-retract',
  'reveal-too-late',
  'reveal-mismatch',
  'answer-mismatch',
  'prompt-tokens-differ',
])

export interface WorkParts {
  readonly me: Address
  readonly key: NodeKey
  readonly network: Network
  readonly models: ServedModels
  readonly journal: Journal
  readonly answers: AnswerStore
  readonly leaves?: Pick<LeafStore, 'keep'>
  readonly prompts: PromptSource
  readonly announce: Announce
  readonly metrics: WorkMetrics
  readonly clock: Clock
  readonly log: Logger
  /** Runs that one model takes at the same time. */
  readonly runsPerModel: number
}

type Action = Exclude<Step, { readonly do: 'compute' | 'wait' }>

const OWING: readonly SeatView['state'][] = ['drawn', 'committed', 'late']

/** A job in hand. */
interface JobInHand {
  job: JobView
  hint: string | undefined
  /** When AO last told of it. */
  heardAt: number
  /** When it was last read from AO rather than heard of. */
  readAt: number | undefined
  acting: boolean
  again: boolean
  failures: number
  notBefore: number
  /** Why this miner abstains, once said. */
  abstains: string | undefined
}

/** Does what `nextStep` decides for every job this miner has a seat in. */
export class Work {
  readonly #parts: WorkParts
  readonly #saltKey: Uint8Array
  readonly #hands = new Map<JobId, JobInHand>()
  readonly #queue: RunQueue
  readonly #acting = new Set<Promise<void>>()
  readonly #loop: Loop
  #stopping = false

  constructor(parts: WorkParts) {
    this.#parts = parts
    this.#saltKey = saltKey(parts.key.seed.reveal())
    this.#queue = new RunQueue(parts.runsPerModel)
    this.#loop = new Loop(
      {
        intervalMs: LOOK_INTERVAL_MS,
        onError: err => parts.log.error({ err }, 'The jobs of this miner could not be checked.'),
      },
      () => this.#look(),
    )
  }

  /** Takes up the journal's jobs again and begins. */
  async start(): Promise<void> {
    for (const { job } of this.#parts.journal.entries()) await this.refresh(job).catch(() => {})
    this.#loop.start()
  }

  /** Jobs in hand, those still owing a commitment or a reveal first. */
  inHand(): readonly { readonly job: JobView; readonly seat: SeatView | undefined }[] {
    return [...this.#hands.values()].map(({ job }) => ({ job, seat: seatOf(job, this.#parts.me) }))
  }

  /** Seats that still owe a commitment or a reveal which this miner means to give. */
  owed(): number {
    return [...this.#hands.values()].filter(hand => {
      const step = this.#step(hand).do
      const seat = seatOf(hand.job, this.#parts.me)
      return step !== 'drop' && step !== 'abstain' && OWING.includes(seat?.state ?? 'missed')
    }).length
  }

  get running(): number {
    return this.#queue.running
  }

  get waiting(): number {
    return this.#queue.waiting
  }

  has(job: JobId): boolean {
    return this.#hands.has(job)
  }

  /** Takes a job as AO shows it; the prompt, when given, saves a fetch. `readAt`: it is no news but was asked for then. */
  take(job: JobView, prompt?: string, readAt?: number): void {
    const hand = this.#hands.get(job.id)
    if (hand === undefined && seatOf(job, this.#parts.me) === undefined) return
    const now = this.#parts.clock.now()
    if (hand === undefined) {
      // An ended job that left no record here was over before this miner knew of it.
      if (ENDED.includes(job.state) && seatOf(job, this.#parts.me)?.state !== 'late') {
        if (this.#parts.journal.get(job.id) === undefined) return
      }
      this.#hands.set(job.id, {
        job,
        hint: prompt,
        heardAt: now,
        readAt,
        acting: false,
        again: false,
        failures: 0,
        notBefore: 0,
        abstains: undefined,
      })
    } else {
      hand.hint ??= prompt
      hand.readAt = readAt ?? hand.readAt
      if (isOlder(job, hand.job)) return
      hand.job = job
      hand.heardAt = now
    }
    this.#consider(job.id)
  }

  /** Reads a job from AO and takes it; returns it, or undefined when AO does not know it. */
  async refresh(id: JobId, prompt?: string): Promise<JobView | undefined> {
    const job = await this.#parts.network.job(id)
    if (job !== undefined) this.take(job, prompt, this.#parts.clock.now())
    return job
  }

  /**
   * Stops. Within `graceMs` what is owed may still be computed, committed and revealed; the rest is in the journal and
   * is taken up at the next start.
   */
  async stop(graceMs: number): Promise<void> {
    const { clock } = this.#parts
    const end = clock.now() + graceMs
    while (this.owed() > 0 && clock.now() < end) await new Promise(resolve => setTimeout(resolve, 100))
    this.#stopping = true
    await this.#loop.stop()
    await this.#queue.cancelAll(new ApusError('stopping', 'The miner is stopping.'))
    await Promise.all(this.#acting)
  }

  async #look(): Promise<void> {
    const { journal, clock, log } = this.#parts
    if (journal.full && (await journal.probe())) log.info('The journal can be written again.')
    for (const [id, hand] of this.#hands) {
      if (clock.now() - hand.heardAt >= REFRESH_AFTER_MS) {
        await this.refresh(id).catch(error =>
          log.debug({ job: id, reason: describeError(error) }, 'A job could not be read from AO.'),
        )
      }
      this.#consider(id)
    }
  }

  #step(hand: JobInHand): Step {
    const { me, journal, models, clock } = this.#parts
    const served = models.get(hand.job.model)?.class === hand.job.class
    const facts = { me, served, canRecord: !journal.full, now: clock.now() }
    return nextStep(hand.job, journal.get(hand.job.id), facts)
  }

  #consider(id: JobId): void {
    const hand = this.#hands.get(id)
    if (hand === undefined || this.#stopping) return
    if (hand.acting) {
      hand.again = true
      return
    }
    const step = this.#step(hand)
    if (step.do !== 'compute')
      this.#queue.cancel(id, new ApusError('aborted', 'The run is no longer wanted.'))
    if (step.do === 'wait' || this.#parts.clock.now() < hand.notBefore) return
    if (step.do === 'compute') this.#enqueue(hand)
    else this.#begin(hand, step)
  }

  #begin(hand: JobInHand, step: Action): void {
    hand.acting = true
    const action = this.#act(hand, step)
      .catch(error => this.#failed(hand, step, error))
      .finally(() => {
        this.#acting.delete(action)
        hand.acting = false
        if (!hand.again) return
        hand.again = false
        this.#consider(hand.job.id)
      })
    this.#acting.add(action)
  }

  async #act(hand: JobInHand, step: Action): Promise<void> {
    const { journal, log, metrics } = this.#parts
    const { job } = hand
    switch (step.do) {
      case 'drop':
        await journal.over(job.id).catch(() => {})
        this.#hands.delete(job.id)
        return
      case 'abstain':
        if (hand.abstains === step.code) return
        hand.abstains = step.code
        metrics.abstained(step.code)
        log.warn({ job: job.id, code: step.code }, 'The miner neither commits nor reveals for this job.')
        return
      case 'commit':
        return this.#commit(hand, this.#recorded(job.id))
      case 'reveal':
        return this.#reveal(hand, this.#recorded(job.id))
      case 'retract':
        await this.#parts.network.retract(job.id)
        await journal.giveUp(job.id, 'commitment-differs')
        log.warn({ job: job.id }, 'A commitment that this node cannot open was retracted.')
    }
  }

  #recorded(job: JobId): Computed {
    const computed = this.#parts.journal.get(job)?.computed
    if (computed === undefined)
      throw new ApusError('journal-damaged', 'The journal lacks the result of a job that it names.')
    return computed
  }

  async #commit({ job }: JobInHand, computed: Computed): Promise<void> {
    const { network, journal, key, me, announce, clock, log, metrics } = this.#parts
    const statement = { network: network.network, job: job.id, miner: me, commitment: computed.commitment }
    const signed = signCommitment({ ...statement, peer: key.peer }, key.sign)
    announce(signed).catch(error =>
      log.debug({ job: job.id, reason: describeError(error) }, 'The commitment was not gossiped.'),
    )
    await orTakenBefore(network.commit(job.id, computed.commitment, computed.result.promptTokens))
    metrics.committed()
    log.info({ job: job.id }, 'Committed.')
    // AO has it: a record that cannot be written now costs a resend after a restart, nothing else.
    await journal.committed(job.id, clock.now()).catch(() => {})
  }

  async #reveal({ job }: JobInHand, computed: Computed): Promise<void> {
    const { network, journal, clock, log, metrics } = this.#parts
    const size = computed.pieces.reduce((sum, p) => sum + Buffer.byteLength(p, 'base64'), 0)
    const { answerRoot } = computed.result
    const fits = size <= MAX_INLINE_ANSWER_BYTES
    if (!fits) await this.#parts.answers.keep(job.id, answerRoot, computed.pieces)
    const answer = fits ? { pieces: computed.pieces } : { id: answerRoot, size }
    const revealed = { tokens: computed.tokens, ...answer }
    await orTakenBefore(network.reveal(job.id, computed.salt, computed.result, revealed))
    metrics.revealed()
    log.info({ job: job.id }, 'Revealed.')
    await journal.revealed(job.id, clock.now()).catch(() => {})
  }

  #enqueue(hand: JobInHand): void {
    const { job } = hand
    if (this.#queue.has(job.id)) return
    this.#queue.add({
      key: job.id,
      lane: job.model,
      order: job.deadline,
      run: signal => this.#compute(hand, signal).catch(error => this.#runFailed(hand, signal, error)),
    })
  }

  async #compute(hand: JobInHand, signal: AbortSignal): Promise<void> {
    const { network, me, models, journal, prompts, log, metrics, clock } = this.#parts
    const { job } = hand
    const served = models.get(job.model)
    if (served === undefined) return
    await this.#confirm(hand)
    if (this.#step(hand).do !== 'compute') return
    const prompt = await findPrompt(job, hand.hint, prompts, signal)
    await journal.attempt(job.id)
    const begun = clock.now()
    const { model } = served
    const options = { network: network.network, me, saltKey: this.#saltKey, model, job, prompt }
    const { computed, generation, promptTokens } = await runJob(options, signal)
    signal.throwIfAborted()
    await journal.computed(job.id, computed)
    // Lost leaves are computed again when it is asked for.
    if (generation.leaves) await this.#parts.leaves?.keep(job.id, generation.leaves).catch(() => {})
    const tookMs = clock.now() - begun
    metrics.computed({ tookMs, tokens: generation.tokens.length, promptTokens })
    log.info({ job: job.id, tokens: generation.tokens.length, tookMs }, 'Computed.')
    hand.failures = 0
    this.#consider(job.id)
  }

  // News may be late: a run is worth its while, and a commitment right, only if AO says so now.
  async #confirm({ job, readAt }: JobInHand): Promise<void> {
    if (readAt !== undefined && this.#parts.clock.now() - readAt < FRESH_MS) return
    if ((await this.refresh(job.id)) !== undefined) return
    throw new ApusError('job-unknown', 'AO does not know the job yet.', { retry: true, blame: 'nobody' })
  }

  async #runFailed(hand: JobInHand, signal: AbortSignal, error: unknown): Promise<void> {
    const { journal, log, metrics } = this.#parts
    if (signal.aborted) return journal.released(hand.job.id).catch(() => {})
    const code = errorCode(error) ?? 'internal'
    metrics.failed(code)
    if (FINAL_FOR_JOB.has(code)) {
      log.warn({ job: hand.job.id, code }, 'The job cannot be computed as it stands.')
      await journal.giveUp(hand.job.id, code).catch(() => {})
      return
    }
    log.warn({ err: error, job: hand.job.id }, 'A run failed.')
    this.#backOff(hand)
  }

  async #failed(hand: JobInHand, step: Action, error: unknown): Promise<void> {
    const { log, metrics, journal } = this.#parts
    const code = errorCode(error) ?? 'internal'
    metrics.failed(code)
    this.#backOff(hand)
    log.warn(
      { job: hand.job.id, step: step.do, reason: describeError(error) },
      'AO did not accept a message.',
    )
    if (FINAL_ON_AO.has(code)) await journal.giveUp(hand.job.id, code).catch(() => {})
    if (!(error instanceof ApusError && error.retry)) await this.refresh(hand.job.id).catch(() => {})
  }

  #backOff(hand: JobInHand): void {
    hand.failures++
    hand.notBefore = this.#parts.clock.now() + backoff(hand.failures, FIRST_RETRY_MS, LONGEST_RETRY_MS)
  }
}

/** No retry makes these right. */
const FINAL_FOR_JOB = new Set([
  'prompt-mismatch',
  'prompt-tokens-differ',
  'prompt-invalid',
  'prompt-too-long',
  'commitment-fixed',
])

async function orTakenBefore(sent: Promise<unknown>): Promise<void> {
  try {
    await sent
  } catch (error) {
    if (!TAKEN_BEFORE.has(errorCode(error) ?? '')) throw error
  }
}
