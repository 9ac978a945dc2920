import { accusedAnswer, challengerMove, type DisputeMessage, openingMove } from '@apus/shared/dispute'
import { merkleRoot, toBase64Url } from '@apus/shared/hashing'
import { type RunLeaves, runRoots } from '@apus/shared/machine'
import { type RevealedResult, tokenDigest } from '@apus/shared/protocol'
import type { OracleReplay, Replay } from '@apus/shared/replay'
import { pieceLeaf } from '../../../shared/src/machine/digests.ts'
import { promptLeaves } from '../../../shared/src/machine/prompt-tree.ts'
import { Court } from './court.ts'

/** A challenger's run as it is when it reads what the accused has revealed; who made its run up has no other. */
export function reading(run: Replay, tokens: readonly number[]): Replay {
  if (!canRead(run) || sameTokens(run.tokens, tokens)) return run
  const kept = READINGS.get(run) ?? new Map<string, Replay>()
  READINGS.set(run, kept)
  const other = kept.get(tokens.join()) ?? run.reading(tokens)
  kept.set(tokens.join(), other)
  return other
}

/** A run that can be done with other tokens. */
export type Reader = Replay & Pick<OracleReplay, 'reading'>

const canRead = (run: Replay): run is Reader => 'reading' in run

const READINGS = new WeakMap<Replay, Map<string, Replay>>()

const sameTokens = (a: readonly number[], b: readonly number[]): boolean =>
  a.length === b.length && a.every((token, i) => token === b[i])

/** What a run reveals of itself. */
export function resultOf(run: Replay, finish?: 'stop' | 'length'): RevealedResult {
  const flag = run.checkpoints.at(-1)![8]!
  return {
    count: run.checkpoints.length,
    finish: finish ?? (flag === 1 || flag === 2 ? 'stop' : 'length'),
    tokenDigest: tokenDigest(run.tokens),
    ...(runRoots(run) as Pick<RevealedResult, 'checkpointRoot' | 'kvRoot'>),
    answerRoot: toBase64Url(merkleRoot(run.pieces.map(pieceLeaf))) as RevealedResult['answerRoot'],
  }
}

export interface Played {
  readonly state: 'none' | 'running' | 'proven' | 'silent' | 'refuted' | 'abandoned' | 'waiting' | 'moot'
  /** Messages taken. */
  readonly messages: readonly DisputeMessage[]
  /** Bytes of Data of all messages, and of the largest. */
  readonly bytes: number
  readonly largest: number
  /** Codes of refused messages. */
  readonly refusals: readonly string[]
}

export interface Parties {
  readonly model: string
  readonly challenger: Replay
  readonly accused: Replay
  readonly result: RevealedResult
  /** What the challenger has of the accused's leaves. */
  readonly leaves?: RunLeaves
  /** Changes or withholds a party's message before it is sent. */
  readonly tamper?: (by: 'accused' | 'challenger', message: DisputeMessage) => DisputeMessage | undefined
  /** Replaces the opening. */
  readonly opening?: DisputeMessage
}

const JOB = 'j'.repeat(43)
const ACCUSED = 'a'.repeat(43)
const MOST_MESSAGES = 200

/** Plays one dispute from its opening to its end, every move derived from what is published. */
export function play({ model, challenger, accused, result, leaves, tamper, opening }: Parties): Played {
  const promptTokens = toBase64Url(merkleRoot(promptLeaves(accused.promptTokens).map(leaf => leaf.hash)))
  const { terms, tokens } = accused
  const court = new Court({ id: JOB, terms, model, promptTokens, result, tokens })
  const reader = reading(challenger, tokens)
  const messages: DisputeMessage[] = []
  const refusals: string[] = []
  const done = (): Played => {
    const sizes = messages.map(message => JSON.stringify(message.data ?? '').length)
    return {
      state: messages.length === 0 ? 'none' : court.view.state,
      messages,
      bytes: sizes.reduce((a, b) => a + b, 0),
      largest: Math.max(0, ...sizes),
      refusals,
    }
  }
  const send = (by: 'accused' | 'challenger', own: DisputeMessage | undefined) => {
    const message = own && (tamper ? tamper(by, own) : own)
    const refusal = message ? court.take(by, message) : 'silent'
    if (refusal !== undefined || message === undefined) {
      refusals.push(refusal ?? 'silent')
      court.timeOut()
    } else messages.push(message)
  }
  const first = opening ?? openingMove(reader, { job: JOB, accused: ACCUSED, result, leaves })
  if (first === undefined) return done()
  send('challenger', first)
  while (court.view.state === 'running' && messages.length < MOST_MESSAGES) {
    if (court.view.turn === 'accused')
      send(
        'accused',
        attempt(() => accusedAnswer(court.view, accused), refusals),
      )
    else {
      const accused = { result, answers: court.answers }
      send(
        'challenger',
        attempt(() => challengerMove(court.view, reader, accused), refusals),
      )
    }
  }
  return done()
}

/** A party that has nothing to say falls silent. */
function attempt(move: () => DisputeMessage, refusals: string[]): DisputeMessage | undefined {
  try {
    return move()
  } catch (error) {
    refusals.push((error as Error).message)
    return undefined
  }
}
