import { digest, fromBase64Url, merkleLeaf, merkleRoot, toBase64Url } from '@apus/shared/hashing'
import { ApusError } from '@apus/shared/kit'
import { answerRoot } from '@apus/shared/machine'
import { Q16_ONE } from '@apus/shared/protocol'
import { answerText, endsAnswer } from '@apus/shared/tokenizer'
import type { LlamaContextSequence, SequenceEvaluateOptions, Token } from 'node-llama-cpp'
import { stopIfAborted } from '../../models/stop-if-aborted.ts'
import type { ChosenToken, Generation, GenerationRequest } from '../engine.ts'

export interface PinnedSequence {
  readonly sequence: LlamaContextSequence
  /** Positions that prompt and answer may fill together. */
  readonly positions: number
  /** Prompt tokens evaluated together. */
  readonly batch: number
  readonly vocabulary: number
  readonly piece: (token: number) => Uint8Array
  readonly isEnd: (token: Token) => boolean
}

const CHECKPOINT = 'apus/checkpoint'
/** llama.cpp shows no K/V rows: this class commits to none. */
const NO_PAGES = toBase64Url(merkleRoot([]))

/** One job on a sequence that nothing else uses meanwhile. */
export async function runGeneration(
  on: PinnedSequence,
  request: GenerationRequest,
  signal: AbortSignal,
  onToken: (token: ChosenToken) => void = () => {},
): Promise<Generation> {
  checkPrompt(on, request.promptTokens)
  stopIfAborted(signal)
  const tokens: Token[] = []
  const pieces: Uint8Array[] = []
  let stopped = false
  try {
    await on.sequence.clearHistory()
    const rest = await readPrompt(on, request.promptTokens as readonly Token[], signal)
    const space = on.positions - request.promptTokens.length + 1
    for await (const token of on.sequence.evaluate(rest, samplerOptions(request, tokens))) {
      stopIfAborted(signal)
      const piece = on.piece(token)
      tokens.push(token)
      pieces.push(piece)
      onToken({ index: tokens.length - 1, token, piece })
      stopped = on.isEnd(token) || endsAnswer(pieces, request.stop)
      if (stopped || tokens.length >= Math.min(request.maxTokens, space)) break
    }
  } catch (cause) {
    if (cause instanceof ApusError) throw cause
    throw new ApusError('engine-failed', 'llama.cpp failed while it computed an answer.', {
      retry: true,
      cause,
    })
  }
  if (tokens.length === 0) throw new ApusError('engine-failed', 'llama.cpp chose no token.', { retry: true })
  return {
    tokens,
    pieces,
    text: answerText(pieces, request.stop),
    finish: stopped ? 'stop' : 'length',
    checkpointRoot: toBase64Url(merkleRoot(tokens.map((token, i) => checkpoint(i, token)))),
    kvRoot: NO_PAGES,
    answerRoot: toBase64Url(answerRoot(pieces)),
  }
}

function checkPrompt(on: PinnedSequence, prompt: readonly number[]): void {
  const invalid = (code: string, message: string) => new ApusError(code, message, { blame: 'peer' })
  if (prompt.length === 0) throw invalid('prompt-invalid', 'The prompt has no tokens.')
  const unknown = prompt.find(token => !Number.isInteger(token) || token < 0 || token >= on.vocabulary)
  if (unknown !== undefined)
    throw invalid('token-unknown', `The model has no token ${unknown}, which the prompt holds.`)
  if (prompt.length > on.positions)
    throw invalid(
      'prompt-too-long',
      `The prompt has ${prompt.length} tokens; the model holds ${on.positions}.`,
    )
}

/** Evaluates all whole batches of the prompt but the last, and returns the tokens that are left. */
async function readPrompt(
  on: PinnedSequence,
  prompt: readonly Token[],
  signal: AbortSignal,
): Promise<Token[]> {
  let at = 0
  for (; at + on.batch < prompt.length; at += on.batch) {
    stopIfAborted(signal)
    await on.sequence.evaluateWithoutGeneratingNewTokens(prompt.slice(at, at + on.batch))
  }
  return prompt.slice(at)
}

function samplerOptions(
  { sampler, promptTokens, jobKey }: GenerationRequest,
  chosen: readonly Token[],
): SequenceEvaluateOptions {
  const seed = Buffer.from(fromBase64Url(digest('apus/llama-cpp-seed', jobKey, String(sampler.seed))))
  const { repeatPenalty, frequencyPenalty, presencePenalty, penaltyWindow } = sampler
  const penalises = repeatPenalty !== Q16_ONE || frequencyPenalty !== 0 || presencePenalty !== 0
  return {
    temperature: sampler.temperature / Q16_ONE,
    topK: sampler.topK,
    topP: sampler.topP / Q16_ONE,
    seed: seed.readUInt32LE(),
    yieldEogToken: true,
    ...(penalises &&
      penaltyWindow > 0 && {
        repeatPenalty: {
          penalty: repeatPenalty / Q16_ONE,
          frequencyPenalty: frequencyPenalty / Q16_ONE,
          presencePenalty: presencePenalty / Q16_ONE,
          maxPunishTokens: penaltyWindow,
          punishTokens: () => [...(promptTokens as readonly Token[]), ...chosen].slice(-penaltyWindow),
        },
      }),
  }
}

function checkpoint(index: number, token: number): Uint8Array {
  const bytes = Buffer.alloc(8)
  bytes.writeUInt32LE(index)
  bytes.writeUInt32LE(token, 4)
  return merkleLeaf(CHECKPOINT, bytes)
}
