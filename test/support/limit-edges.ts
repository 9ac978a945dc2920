import { MAX_CLASS_BYTES, MAX_NAME_BYTES, MAX_PROMPT_BYTES, Q16_ONE } from '@apus/shared/protocol'
import { MAX_NEW_TOKENS, MAX_REDUNDANCY } from '../../shared/src/protocol/job.ts'
import {
  MAX_AMOUNT_DIGITS,
  MAX_BATCH_TRANSFERS,
  MAX_CONTEXT_TOKENS,
  MAX_FORWARDED_TAG_BYTES,
  MAX_FORWARDED_TAGS,
  MAX_LISTING_BYTES,
  MAX_PEER_ID_CHARACTERS,
  MAX_REFERENCE_BYTES,
  MAX_SERVED_MODELS,
  MAX_STOP_UNITS,
  MAX_STOPS,
  MAX_TAG_INTEGER,
  MAX_U32,
  MIN_PEER_ID_CHARACTERS,
  SIGNATURE_CHARACTERS,
} from '../../shared/src/protocol/limits.ts'
import { MIN_TEMPERATURE } from '../../shared/src/protocol/sampler.ts'
import { addressOf, digestOf, type Tags } from './contracts.ts'

/** Tags and data of a message, what a test changes laid over what every message of the action needs. */
export interface Change {
  readonly tags?: Tags
  readonly data?: string
}

/** Values at a limit, which both sides take, and values one further, which both refuse with the code. */
export interface Edge {
  readonly name: string
  readonly code: string
  readonly taken: readonly Change[]
  readonly refused: readonly Change[]
}

export const tagEdge = (
  name: string,
  code: string,
  taken: readonly string[],
  refused: readonly string[],
): Edge => ({
  name,
  code,
  taken: taken.map(value => ({ tags: { [name]: value } })),
  refused: refused.map(value => ({ tags: { [name]: value } })),
})
export const wholeEdge = (name: string, least: number, most: number): Edge =>
  tagEdge(name, 'bad-tag', [String(least), String(most)], [String(least - 1), String(most + 1), '1.5', ''])
export const dataEdge = (
  name: string,
  code: string,
  taken: readonly string[],
  refused: readonly string[],
): Edge => ({
  name,
  code,
  taken: taken.map(text => ({ data: text })),
  refused: refused.map(text => ({ data: text })),
})
/** A JSON object of exactly this many bytes. */
export const jsonOf = (bytes: number): string => `{"a":"${'x'.repeat(bytes - 8)}"}`
const sampler = (field: string, least: number, most: number, between: readonly number[] = []): Edge => {
  const text = (value: unknown) => JSON.stringify({ [field]: value })
  return {
    ...tagEdge(
      'Sampler',
      'bad-sampler',
      [least, most].map(text),
      [least - 1, most + 1, ...between, 0.5, 'a'].map(text),
    ),
    name: `sampler ${field}`,
  }
}

const LONGEST = '9'.repeat(MAX_AMOUNT_DIGITS)
const PENALTY = 2 * Q16_ONE
export const amountEdge = (name: string): Edge =>
  tagEdge(name, 'bad-tag', ['1', LONGEST], ['0', `${LONGEST}9`, '01', '-1', '1.5'])
const prices = (name: string): Edge =>
  tagEdge(name, 'bad-tag', ['0', LONGEST], [`${LONGEST}9`, '01', '-1', ''])
const family = (bytes: number, filler: string): string => {
  const head = 'llama.cpp/'
  return head + filler.repeat((bytes - head.length) / Buffer.byteLength(filler))
}

export const LISTING_EDGES: readonly Edge[] = [
  tagEdge(
    'Class',
    'bad-tag',
    [family(MAX_CLASS_BYTES, 'x'), family(MAX_CLASS_BYTES, 'é')],
    ['', family(MAX_CLASS_BYTES + 1, 'x'), `${family(MAX_CLASS_BYTES, 'é')}x`],
  ),
  tagEdge(
    'Name',
    'bad-tag',
    ['n', 'n'.repeat(MAX_NAME_BYTES), 'é'.repeat(MAX_NAME_BYTES / 2)],
    ['', 'n'.repeat(MAX_NAME_BYTES + 1), `${'é'.repeat(MAX_NAME_BYTES / 2)}n`],
  ),
  wholeEdge('Max-Context', 1, MAX_CONTEXT_TOKENS),
  prices('Base-Price'),
  prices('Token-Price'),
  dataEdge('the header', 'bad-data', [jsonOf(MAX_LISTING_BYTES)], [jsonOf(MAX_LISTING_BYTES + 1)]),
]

export const JOB_EDGES: readonly Edge[] = [
  wholeEdge('Max-Tokens', 1, MAX_NEW_TOKENS),
  wholeEdge('Redundancy', 1, MAX_REDUNDANCY),
  sampler('temperature', 0, 4 * Q16_ONE, [1, MIN_TEMPERATURE - 1]),
  {
    ...tagEdge(
      'Sampler',
      'bad-sampler',
      [JSON.stringify({ temperature: MIN_TEMPERATURE })],
      ['{"magic":1}', '[1]', '{'],
    ),
    name: 'sampler',
  },
  sampler('topK', 0, 1024),
  sampler('topP', 1, Q16_ONE),
  sampler('repeatPenalty', Q16_ONE, 4 * Q16_ONE),
  sampler('frequencyPenalty', -PENALTY, PENALTY),
  sampler('presencePenalty', -PENALTY, PENALTY),
  sampler('penaltyWindow', 0, 64),
  sampler('seed', 0, MAX_U32),
  tagEdge(
    'Stop',
    'bad-stop',
    [
      [],
      Array(MAX_STOPS).fill('s'),
      ['s'.repeat(MAX_STOP_UNITS)],
      ['é'.repeat(MAX_STOP_UNITS)],
      ['😀'.repeat(MAX_STOP_UNITS / 2)],
      ['\u0001'.repeat(MAX_STOP_UNITS)],
    ].map(s => JSON.stringify(s)),
    [
      Array(MAX_STOPS + 1).fill('s'),
      [''],
      ['s'.repeat(MAX_STOP_UNITS + 1)],
      ['😀'.repeat(MAX_STOP_UNITS / 2 + 1)],
      [1],
    ].map(s => JSON.stringify(s)),
  ),
  tagEdge(
    'Reference',
    'bad-tag',
    ['r', 'r'.repeat(MAX_REFERENCE_BYTES), 'é'.repeat(MAX_REFERENCE_BYTES / 2)],
    ['', 'r'.repeat(MAX_REFERENCE_BYTES + 1)],
  ),
  tagEdge('Format', 'bad-tag', ['text', 'raw'], ['html', '']),
  tagEdge('Prompt-Tokens', 'bad-tag', [digestOf('tokens')], ['x'.repeat(42), 'x'.repeat(44), '']),
  dataEdge(
    'the prompt',
    'prompt-too-large',
    ['x'.repeat(MAX_PROMPT_BYTES), '€'.repeat(MAX_PROMPT_BYTES / 4)],
    ['x'.repeat(MAX_PROMPT_BYTES + 1), '😀'.repeat(MAX_PROMPT_BYTES / 4 + 1)],
  ),
  dataEdge('no prompt', 'no-prompt', ['x'], ['']),
  {
    name: 'chat',
    code: 'bad-prompt',
    taken: [{ tags: { Format: 'chat' }, data: '[{"role":"user","content":"hi"}]' }],
    refused: ['[]', '{}', 'hi', '[{"role":"user"}]'].map(text => ({ tags: { Format: 'chat' }, data: text })),
  },
]

export const peerOfLength = (characters: number): string => '1'.repeat(characters)
export const REGISTER_EDGES: readonly Edge[] = [
  tagEdge(
    'Peer-Id',
    'bad-tag',
    [peerOfLength(MIN_PEER_ID_CHARACTERS), peerOfLength(MAX_PEER_ID_CHARACTERS)],
    [
      peerOfLength(MIN_PEER_ID_CHARACTERS - 1),
      peerOfLength(MAX_PEER_ID_CHARACTERS + 1),
      `0${peerOfLength(50)}`,
      '',
    ],
  ),
  tagEdge(
    'Node-Signature',
    'bad-tag',
    ['A'.repeat(SIGNATURE_CHARACTERS)],
    [
      'A'.repeat(SIGNATURE_CHARACTERS - 1),
      'A'.repeat(SIGNATURE_CHARACTERS + 1),
      '+'.repeat(SIGNATURE_CHARACTERS),
    ],
  ),
  tagEdge('Expires', 'bad-tag', [String(MAX_TAG_INTEGER)], ['0', String(MAX_TAG_INTEGER + 1)]),
]

const models = (count: number): string[] => Array.from({ length: count }, (_, i) => addressOf(`served-${i}`))
export const SERVED_MODELS = models(MAX_SERVED_MODELS)

const forwarded = (count: number): Tags =>
  Object.fromEntries(Array.from({ length: count }, (_, i) => [`X-Note-${i}`, 'n']))
const batch = (count: number): string =>
  Array(count)
    .fill(`${addressOf('bob')},1`)
    .join('\n')
export const TRANSFER_EDGES: readonly Edge[] = [
  amountEdge('Quantity'),
  tagEdge(
    'Recipient',
    'bad-tag',
    [addressOf('bob'), `0x${'a'.repeat(40)}`],
    ['x'.repeat(42), `0x${'a'.repeat(39)}`, `0x${'g'.repeat(40)}`, ''],
  ),
  {
    name: 'tags taken along',
    code: 'bad-tag',
    taken: [{ tags: forwarded(MAX_FORWARDED_TAGS) }],
    refused: [{ tags: forwarded(MAX_FORWARDED_TAGS + 1) }],
  },
  tagEdge(
    'X-Note',
    'bad-tag',
    ['n'.repeat(MAX_FORWARDED_TAG_BYTES)],
    ['n'.repeat(MAX_FORWARDED_TAG_BYTES + 1)],
  ),
]
export const BATCH_EDGE = dataEdge(
  'the batch',
  'bad-data',
  [batch(1), batch(MAX_BATCH_TRANSFERS)],
  ['', batch(MAX_BATCH_TRANSFERS + 1), `${addressOf('bob')},0`, `${addressOf('bob')},${LONGEST}9`, 'bob,1'],
)
