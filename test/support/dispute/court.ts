import { type DisputeMessage, SeatAnswers } from '@apus/shared/dispute'
import { fromBase64 } from '@apus/shared/hashing'
import type { DisputeView } from '@apus/shared/protocol'
import { ZodError } from 'zod'
import {
  checkChunks,
  checkOperations,
  checkStages,
  shownOperations,
} from '../../../shared/src/dispute/answer-rules.ts'
import { judgeStep } from '../../../shared/src/dispute/referee.ts'
import { readAnswer } from '../../../shared/src/dispute/seat-answers.ts'
import {
  type DisputeTree,
  firstLevel,
  shownNodes,
  showsOperations,
  treeSize,
} from '../../../shared/src/dispute/trees.ts'
import { equalBytes, fromHashes, toBase64, toHashes } from '../../../shared/src/hashing/bytes.ts'
import { pairPlace } from '../../../shared/src/machine/pages.ts'
import { planStage, stageCount } from '../../../shared/src/machine/plan.ts'
import type { Operation } from '../../../shared/src/machine/steps.ts'
import { digestOfLeaves, valueLeaf } from '../../../shared/src/machine/value-tree.ts'
import { disputePayloads, LEVEL_STEP, seatAnswerKey } from '../../../shared/src/protocol/dispute.ts'
import { checkLevel, checkPages } from './court-answers.ts'
import { type CourtJob, Refused, refuse } from './court-job.ts'
import { demandBrokenRule, demandWrongPiece } from './court-proofs.ts'

const ACCUSED = 'a'.repeat(43)

const LEGAL = Uint8Array.of(1)

/** The leaves of a check that is held according to this digest of its value: nobody needs to be asked for them. */
function heldCheck(operation: Operation, digest: Uint8Array | undefined): Uint8Array[] | undefined {
  if (!operation.check || digest === undefined) return undefined
  const leaves = Array.from({ length: operation.leaves }, () => valueLeaf(LEGAL))
  return equalBytes(digestOfLeaves(operation, leaves), digest) ? leaves : undefined
}

/** What an answer must name, so that it answers this question only. */
const MUST_NAME: Readonly<Record<string, readonly string[]>> = {
  'Answer-Stages': ['Job', 'Position'],
  'Answer-Operations': ['Job', 'Position', 'Stage'],
}

type State = {
  -readonly [K in keyof DisputeView]: DisputeView[K]
}

/** The law of disputes in memory, for one dispute: the twin of contracts-lua/SPEC.md that plays thousands of them. */
export class Court {
  readonly view: State
  readonly answers: SeatAnswers
  readonly #job: CourtJob
  readonly #answers = new Map<string, string>()
  /** The node that was picked last. */
  #above: Uint8Array | undefined

  constructor(job: CourtJob) {
    this.#job = job
    this.answers = new SeatAnswers(job.id, ACCUSED, key => this.#answers.get(key))
    this.view = {
      id: 'd'.repeat(43),
      job: job.id as DisputeView['job'],
      accused: ACCUSED as DisputeView['accused'],
      challenger: 'c'.repeat(43) as DisputeView['accused'],
      state: 'running',
      bond: '1',
      opened: 0,
      clocks: { accused: 1, challenger: 1 },
    }
  }

  /** Whoever must move says nothing until its time is over. */
  timeOut(): void {
    this.#end(this.view.turn === 'accused' ? 'silent' : 'abandoned')
  }

  /** Takes a message, or returns the code of its refusal and changes nothing. */
  take(by: 'accused' | 'challenger', message: DisputeMessage): string | undefined {
    const before = structuredClone(this.view)
    try {
      this.#act(by, message)
      return undefined
    } catch (error) {
      for (const key of Object.keys(this.view)) if (!(key in before)) Reflect.deleteProperty(this.view, key)
      Object.assign(this.view, before)
      if (error instanceof Refused) return error.message
      if (error instanceof ZodError) return 'bad-data'
      const code = (error as { code?: string }).code
      if (code !== undefined) return code
      throw error
    }
  }

  #act(by: 'accused' | 'challenger', { action, tags, data }: DisputeMessage): void {
    const { view } = this
    const tag = (name: string) => Number(tags[name])
    if (by === 'accused' && (action === 'Prove-Structure' || action === 'Prove-Answer')) refuse('own-seat')
    if (action === 'Prove-Structure') {
      demandBrokenRule(this.#job, tag('Index'), data)
      this.#end('proven')
      return
    }
    if (action === 'Prove-Answer') {
      demandWrongPiece(this.#job, tag('Index'), data)
      this.#end('proven')
      return
    }
    if (action === 'Open-Dispute') {
      if (tags.Position !== undefined) {
        this.#goTo(tag('Position'))
        return
      }
      if (tags.Page !== undefined) {
        this.#wantPages(tag('Page'))
        return
      }
      view.tree = tags.Tree as DisputeTree
      this.#wantLevel(firstLevel(this.#treeCount()), 0)
      return
    }
    if (by !== view.turn || !(view.moves as string[]).includes(action)) refuse('not-your-move')
    const asked: Record<string, unknown> = { Job: view.job, Position: view.position, Stage: view.stage }
    for (const name of MUST_NAME[action] ?? [])
      if (tags[name] !== String(asked[name])) refuse('wrong-question')
    switch (action) {
      case 'Answer-Level':
        this.#answerLevel(data)
        return
      case 'Pick-Node':
        this.#pickNode(tag('Node'))
        return
      case 'Answer-Pages':
        this.#answerPages(data)
        return
      case 'Pick-Row':
        this.#pickRow(tag('Row'))
        return
      case 'Answer-Stages':
        this.#answerStages(data)
        return
      case 'Pick-Stage': {
        const stage = this.#stageOf(tag('Stage'))
        view.stage = stage
        this.#want('Answer-Operations', this.answers.operations(view.position!, stage), ['Pick-Operation'])
        return
      }
      case 'Answer-Operations':
        this.#answerOperations(data)
        return
      case 'Pick-Operation':
        this.#pickOperation(view.stage ?? this.#stageOf(tag('Stage')), tag('Operation'))
        return
      case 'Answer-Chunks':
        this.#answerChunks(data)
        return
      case 'Prove-Step':
        this.#proveStep(tag('Chunk'), data)
        return
    }
  }

  #end(state: DisputeView['state']): void {
    Object.assign(this.view, { state, turn: undefined, moves: undefined })
  }

  #turn(turn: 'accused' | 'challenger', moves: NonNullable<DisputeView['moves']>): void {
    this.view.turn = turn
    this.view.moves = moves
  }

  #want(
    answer: NonNullable<DisputeView['moves']>[number],
    known: unknown,
    then: NonNullable<DisputeView['moves']>,
  ): void {
    if (known === undefined) this.#turn('accused', [answer])
    else this.#turn('challenger', then)
  }

  #goTo(position: number): void {
    const { view } = this
    const { terms, result } = this.#job
    if (!(position >= 0 && position <= terms.promptLength + result.count - 2)) refuse('out-of-range')
    view.position = position
    view.stage = undefined
    view.operation = undefined
    this.#want('Answer-Stages', this.answers.stages(position), this.#picksOfStages())
  }

  #treeCount(): number {
    return treeSize(this.#job, this.view.tree!, this.#job.result.count)
  }

  #wantLevel(level: number, node: number): void {
    Object.assign(this.view, { level, node })
    this.#want('Answer-Level', this.answers.level(this.view.tree!, level, node), ['Pick-Node'])
  }

  #answerLevel(data: unknown): void {
    const { view } = this
    const [tree, level, first] = [view.tree!, view.level!, view.node!]
    checkLevel(this.#job, { tree, level, first, above: this.#above }, data)
    this.#keep(seatAnswerKey.level(this.#job.id, ACCUSED, tree, level, first), data)
    this.#turn('challenger', ['Pick-Node'])
  }

  #pickNode(node: number): void {
    const { view } = this
    const shown = shownNodes(this.#treeCount(), view.level!, view.node!)
    if (node < view.node! || node >= view.node! + shown) refuse('out-of-range')
    if (view.level === 0) {
      if (view.tree === 'pages') {
        this.#wantPages(node >> 1)
        return
      }
      this.#goTo(this.#job.terms.promptLength + node - 1)
      return
    }
    this.#above = this.answers.level(view.tree!, view.level!, view.node!)![node - view.node!]
    const level = Math.max(0, view.level! - LEVEL_STEP)
    this.#wantLevel(level, node << (view.level! - level))
  }

  #wantPages(pair: number): void {
    this.view.pages = pair
    this.#want('Answer-Pages', this.answers.pages(pair), ['Pick-Row'])
  }

  #answerPages(data: unknown): void {
    checkPages(this.#job, this.view.pages!, data)
    this.#keep(seatAnswerKey.pages(this.#job.id, ACCUSED, this.view.pages!), data)
    this.#turn('challenger', ['Pick-Row'])
  }

  #pickRow(row: number): void {
    if (!(row >= 0 && row < 64)) refuse('out-of-range')
    this.#goTo(pairPlace(this.#job, this.view.pages!).page * 64 + row)
  }

  #answerStages(data: unknown): void {
    const position = this.view.position!
    checkStages(this.#job, position, readAnswer.stages(data))
    this.#keep(seatAnswerKey.stages(this.#job.id, ACCUSED, position), data)
    this.#turn('challenger', this.#picksOfStages())
  }

  #picksOfStages(): NonNullable<DisputeView['moves']> {
    return [showsOperations(this.#job.terms, this.view.position!) ? 'Pick-Operation' : 'Pick-Stage']
  }

  #stageOf(stage: number): number {
    if (!(stage >= 0 && stage < stageCount(this.#job.terms, this.view.position!))) refuse('out-of-range')
    return stage
  }

  #answerOperations(data: unknown): void {
    const { position, stage } = this.view
    const digest = this.answers.stages(position!)!.digests[stage!]
    checkOperations(this.#job.terms, position!, stage!, readAnswer.operations(data), digest)
    this.#keep(seatAnswerKey.operations(this.#job.id, ACCUSED, position!, stage!), data)
    this.#turn('challenger', ['Pick-Operation'])
  }

  #pickOperation(stage: number, k: number): void {
    const { view } = this
    const { terms } = this.#job
    const operation = planStage(terms, view.position!, stage)[k]
    if (!operation) refuse('out-of-range')
    if (operation.advice) refuse('advice')
    view.stage = stage
    const shown = shownOperations(terms, view.position!, this.answers.stages(view.position!)!)?.[stage]
    if (shown)
      this.#keep(seatAnswerKey.operations(this.#job.id, ACCUSED, view.position!, stage), {
        digests: toHashes(shown.digests),
        ...(shown.advice && { advice: toBase64(shown.advice) }),
      })
    this.#askChunks(k)
  }

  #askChunks(k: number): void {
    const { view } = this
    view.operation = k
    const operation = planStage(this.#job.terms, view.position!, view.stage!)[k]!
    const held = heldCheck(operation, this.answers.operations(view.position!, view.stage!)!.digests[k])
    if (held)
      this.#keep(seatAnswerKey.chunks(this.#job.id, ACCUSED, view.position!, view.stage!, k), {
        leaves: toHashes(held),
      })
    this.#want('Answer-Chunks', this.answers.chunks(view.position!, view.stage!, k), ['Prove-Step'])
  }

  #answerChunks(data: unknown): void {
    const { view } = this
    const operation = planStage(this.#job.terms, view.position!, view.stage!)[view.operation!]!
    const digest = this.answers.operations(view.position!, view.stage!)!.digests[view.operation!]
    checkChunks(operation, readAnswer.chunks(data), digest)
    this.#keep(
      seatAnswerKey.chunks(this.#job.id, ACCUSED, view.position!, view.stage!, view.operation!),
      data,
    )
    this.#turn('challenger', ['Prove-Step'])
  }

  #proveStep(chunk: number, data: unknown): void {
    const { view } = this
    const { inputs } = disputePayloads['Prove-Step'].parse(data)
    const { verdict } = judgeStep({
      ...this.#job,
      position: view.position!,
      stage: view.stage!,
      operation: view.operation!,
      chunk,
      stages: this.answers.stages(view.position!)!.digests,
      operations: this.answers.operations(view.position!, view.stage!)!.digests,
      answer: this.answers.chunks(view.position!, view.stage!, view.operation!)!,
      inputs: inputs.map(({ leaf, path }) => ({ leaf: fromBase64(leaf), path: fromHashes(path) })),
    })
    view.chunk = chunk
    this.#end(verdict === 'fault' ? 'proven' : 'refuted')
  }

  #keep(key: string, data: unknown): void {
    this.#answers.set(key, JSON.stringify(data))
  }
}
