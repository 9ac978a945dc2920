import { z } from 'zod'
import { ApusError } from '../kit/errors.ts'
import type { NetworkAction, TokenAction } from './actions.ts'
import { MAX_DISPUTE_BYTES } from './dispute.ts'
import { id32 } from './identity.ts'
import {
  MAX_INLINE_ANSWER_BYTES,
  MAX_NEW_TOKENS,
  MAX_PROMPT_BYTES,
  MAX_REDUNDANCY,
  promptFormat,
  stopStrings,
} from './job.ts'
import * as limits from './limits.ts'
import { MIN_TEMPERATURE, samplerSettings } from './sampler.ts'
import { MAX_COMMITMENT_BYTES } from './signed-commitment.ts'

/** A message before it is sent; tags without a value are left out. */
export interface OutgoingMessage {
  readonly tags: Readonly<Record<string, string | undefined>>
  readonly data?: string | undefined
}

type Rule = (message: OutgoingMessage) => void

function refuse(code: string, message: string): never {
  throw new ApusError(code, message)
}
const badTag = (name: string, wanted: string): never =>
  refuse('bad-tag', `The tag ${name} must be ${wanted}.`)

const bytesOf = (text: string): number => Buffer.byteLength(text)

function id({ tags }: OutgoingMessage, name: string): void {
  if (!id32.safeParse(tags[name]).success) badTag(name, '43 base64url characters')
}

function optionalId(message: OutgoingMessage, name: string): void {
  if (message.tags[name] !== undefined) id(message, name)
}

function text({ tags }: OutgoingMessage, name: string, most: number): void {
  const length = bytesOf(tags[name] ?? '')
  if (length === 0 || length > most) badTag(name, `text of 1 to ${most} bytes`)
}

function integer({ tags }: OutgoingMessage, name: string, least: number, most: number): void {
  const value = tags[name] ?? ''
  const isWhole = /^\d{1,15}$/.test(value)
  if (!isWhole || Number(value) < least || Number(value) > most)
    badTag(name, `a whole number from ${least} to ${most}`)
}

function optionalInteger(message: OutgoingMessage, name: string, least: number, most: number): void {
  if (message.tags[name] !== undefined) integer(message, name, least, most)
}

const isAmount = (value: string): boolean =>
  value.length <= limits.MAX_AMOUNT_DIGITS && /^(0|[1-9]\d*)$/.test(value)

function price({ tags }: OutgoingMessage, name: string): void {
  if (!isAmount(tags[name] ?? ''))
    badTag(name, `a whole number of units of at most ${limits.MAX_AMOUNT_DIGITS} digits`)
}

function quantity(message: OutgoingMessage): void {
  price(message, 'Quantity')
  if (message.tags.Quantity === '0') badTag('Quantity', 'a positive whole number of units')
}

/** What a JSON text stands for; undefined when it is none. */
function parsed(json: string): unknown {
  try {
    return JSON.parse(json)
  } catch {
    return undefined
  }
}

const chatTurns = z.array(z.looseObject({ role: z.string(), content: z.string() })).min(1)

function prompt({ tags, data = '' }: OutgoingMessage): void {
  if (data === '') refuse('no-prompt', 'There is no prompt.')
  if (bytesOf(data) > MAX_PROMPT_BYTES)
    refuse('prompt-too-large', `A prompt sent in a message has at most ${MAX_PROMPT_BYTES} bytes.`)
  if (!data.isWellFormed()) refuse('bad-prompt', 'The prompt is not valid Unicode text.')
  if (tags.Format === 'chat' && !chatTurns.safeParse(parsed(data)).success)
    refuse('bad-prompt', 'A chat prompt is a JSON array of {role, content}.')
}

/** A job's tags without their X-, and its prompt. */
function job(message: OutgoingMessage): void {
  const { Sampler, Stop, Format, Reference } = message.tags
  id(message, 'Model')
  integer(message, 'Max-Tokens', 1, MAX_NEW_TOKENS)
  optionalInteger(message, 'Redundancy', 1, MAX_REDUNDANCY)
  const sampler = samplerSettings.safeParse(Sampler === undefined ? {} : parsed(Sampler))
  if (!sampler.success) {
    const field = sampler.error.issues[0]?.path.join('.') ?? ''
    refuse(
      'bad-sampler',
      field === 'temperature'
        ? `The sampler field temperature must be 0, or at least ${MIN_TEMPERATURE} and in its range.`
        : `The sampler is out of range${field === '' ? '' : ` in its field ${field}`}.`,
    )
  }
  const stop = stopStrings.safeParse(Stop === undefined ? [] : parsed(Stop))
  if (!stop.success || !stop.data.every(one => one.isWellFormed()))
    refuse(
      'bad-stop',
      `Stop must be at most ${limits.MAX_STOPS} strings of 1 to ${limits.MAX_STOP_UNITS} characters.`,
    )
  if (Format !== undefined && !promptFormat.safeParse(Format).success)
    badTag('Format', 'one of its defined values')
  if (Reference !== undefined) text(message, 'Reference', limits.MAX_REFERENCE_BYTES)
  optionalId(message, 'Prompt-Tokens')
  prompt(message)
}

function register(message: OutgoingMessage): void {
  const { 'Peer-Id': peer = '', 'Node-Signature': signature = '' } = message.tags
  const { MIN_PEER_ID_CHARACTERS: least, MAX_PEER_ID_CHARACTERS: most } = limits
  if (!/^[1-9A-HJ-NP-Za-km-z]+$/.test(peer) || peer.length < least || peer.length > most)
    badTag('Peer-Id', `a peer id in base58, of ${least} to ${most} characters`)
  if (!/^[A-Za-z0-9_-]+$/.test(signature) || signature.length !== limits.SIGNATURE_CHARACTERS)
    badTag('Node-Signature', '64 bytes in base64url')
  integer(message, 'Expires', 1, limits.MAX_TAG_INTEGER)
}

function serve({ data = '' }: OutgoingMessage): void {
  const read = z.array(id32).safeParse(parsed(data))
  const isList = read.success && new Set(read.data).size === read.data.length
  if (!isList || read.data.length > limits.MAX_SERVED_MODELS)
    refuse(
      'bad-data',
      `The data must be a JSON array of at most ${limits.MAX_SERVED_MODELS} different model ids.`,
    )
}

function listModel(message: OutgoingMessage): void {
  if (bytesOf(message.data ?? '') > limits.MAX_LISTING_BYTES)
    refuse('bad-data', `The data must be a JSON object of at most ${limits.MAX_LISTING_BYTES} bytes.`)
  id(message, 'Model')
  text(message, 'Class', limits.MAX_CLASS_BYTES)
  text(message, 'Name', limits.MAX_NAME_BYTES)
  price(message, 'Base-Price')
  price(message, 'Token-Price')
  integer(message, 'Max-Context', 1, limits.MAX_CONTEXT_TOKENS)
}

const revealed = z.object({ pieces: z.array(z.base64()).optional() })

function reveal(message: OutgoingMessage): void {
  const { tags, data = '' } = message
  for (const name of ['Job', 'Salt', 'Token-Digest', 'Checkpoint-Root', 'Kv-Root', 'Answer-Root'])
    id(message, name)
  integer(message, 'Count', 1, MAX_NEW_TOKENS)
  if (tags['Answer-Id'] !== undefined) {
    id(message, 'Answer-Id')
    integer(message, 'Answer-Size', 1, limits.MAX_U32)
  }
  const read = revealed.safeParse(parsed(data))
  if (!read.success)
    refuse('bad-data', 'The data of a reveal is JSON {"tokens": base64, "pieces": [base64, …]}.')
  const pieces = read.data.pieces ?? []
  const bytes = pieces.reduce((sum, piece) => sum + Buffer.byteLength(piece, 'base64'), 0)
  if (bytes > MAX_INLINE_ANSWER_BYTES)
    refuse('answer-too-large', `An answer in a message has at most ${MAX_INLINE_ANSWER_BYTES} bytes.`)
}

function disputeData({ data = '' }: OutgoingMessage): void {
  if (bytesOf(data) > MAX_DISPUTE_BYTES)
    refuse('too-large', `The data has more than ${MAX_DISPUTE_BYTES} bytes.`)
}

const statements = z.object({
  said: z
    .array(z.object({ statement: z.base64() }))
    .min(1)
    .max(2),
})

function proveEquivocation(message: OutgoingMessage): void {
  disputeData(message)
  const read = statements.safeParse(parsed(message.data ?? ''))
  if (!read.success) refuse('bad-data', 'The field said must list one or two signed commitments.')
  if (read.data.said.some(one => Buffer.byteLength(one.statement, 'base64') > MAX_COMMITMENT_BYTES))
    refuse('bad-statement', `A statement has at most ${MAX_COMMITMENT_BYTES} bytes.`)
}

const both =
  (...rules: readonly Rule[]): Rule =>
  message => {
    for (const rule of rules) rule(message)
  }
const idsOf =
  (...names: readonly string[]): Rule =>
  message => {
    for (const name of names) id(message, name)
  }

/** Actions that are not named here carry nothing that has a limit. */
const NETWORK_RULES: Partial<Record<NetworkAction, Rule>> = {
  Register: register,
  Serve: serve,
  Unstake: quantity,
  Withdraw: quantity,
  'List-Model': listModel,
  'Delist-Model': idsOf('Model'),
  'Void-Model': both(idsOf('Model'), disputeData, message =>
    integer(message, 'Leaf', 0, limits.MAX_TAG_INTEGER),
  ),
  'Submit-Job': job,
  'Cancel-Job': idsOf('Job'),
  Commit: both(idsOf('Job', 'Output-Commitment'), message => optionalId(message, 'Prompt-Tokens')),
  Retract: idsOf('Job'),
  Reveal: reveal,
  'Open-Dispute': disputeData,
  'Answer-Level': disputeData,
  'Answer-Pages': disputeData,
  'Answer-Stages': disputeData,
  'Answer-Operations': disputeData,
  'Answer-Chunks': disputeData,
  'Prove-Step': disputeData,
  'Prove-Structure': both(disputeData, message => integer(message, 'Index', 0, limits.MAX_U32)),
  'Prove-Answer': both(disputeData, message => integer(message, 'Index', 0, MAX_NEW_TOKENS - 1)),
  'Prove-Equivocation': proveEquivocation,
  Tick: message => optionalInteger(message, 'Limit', 0, limits.MAX_TICK_MOVES),
}

/** An Arweave address or process id, or an Ethereum address. */
const isHolder = (value: string): boolean =>
  id32.safeParse(value).success || /^0x[0-9A-Fa-f]{40}$/.test(value)

function transfer(message: OutgoingMessage): void {
  if (!isHolder(message.tags.Recipient ?? '')) badTag('Recipient', 'an address')
  quantity(message)
  const forwarded = Object.entries(message.tags).filter(
    ([name, value]) => name.startsWith('X-') && value !== undefined,
  )
  if (forwarded.length > limits.MAX_FORWARDED_TAGS)
    refuse('bad-tag', `A transfer takes at most ${limits.MAX_FORWARDED_TAGS} tags along.`)
  if (forwarded.some(([, value]) => bytesOf(value ?? '') > limits.MAX_FORWARDED_TAG_BYTES))
    refuse(
      'bad-tag',
      `A tag that a transfer takes along has at most ${limits.MAX_FORWARDED_TAG_BYTES} bytes.`,
    )
  if (message.tags['X-Action'] === 'Submit-Job') job(withoutPrefix(message))
}

function withoutPrefix({ tags, data }: OutgoingMessage): OutgoingMessage {
  const own = Object.entries(tags).filter(([name]) => name.startsWith('X-'))
  return { tags: Object.fromEntries(own.map(([name, value]) => [name.slice(2), value])), data }
}

function batchTransfer({ data = '' }: OutgoingMessage): void {
  const lines = data.split('\n').filter(line => line !== '')
  if (lines.length === 0) refuse('bad-data', 'The batch is empty.')
  if (lines.length > limits.MAX_BATCH_TRANSFERS)
    refuse('bad-data', `A batch has at most ${limits.MAX_BATCH_TRANSFERS} transfers.`)
  for (const line of lines) {
    const [recipient = '', units = ''] = line.split(',')
    if (!isHolder(recipient) || !isAmount(units) || units === '0')
      refuse('bad-data', 'Each line must be recipient,quantity.')
  }
}

const TOKEN_RULES: Partial<Record<TokenAction, Rule>> = {
  Balances: message => optionalInteger(message, 'Limit', 1, limits.MAX_BALANCES_PAGE),
  Transfer: transfer,
  'Batch-Transfer': batchTransfer,
  Burn: quantity,
}

/** Refuses a message to the network that its contract would refuse whatever its state, with the contract's code. */
export const checkNetworkMessage = (action: NetworkAction, message: OutgoingMessage): void =>
  NETWORK_RULES[action]?.(message)

/** The same for the token; a job that is paid by a transfer is checked as the network will. */
export const checkTokenMessage = (action: TokenAction, message: OutgoingMessage): void =>
  TOKEN_RULES[action]?.(message)
