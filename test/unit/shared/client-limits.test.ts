import { createWallet } from '@apus/shared/arweave'
import { errorCode, systemClock } from '@apus/shared/kit'
import { NetworkClient, Requester } from '@apus/shared/network'
import {
  type Address,
  type JobId,
  MAX_CLASS_BYTES,
  MAX_INLINE_ANSWER_BYTES,
  MAX_NAME_BYTES,
  MAX_PROMPT_BYTES,
  type ModelId,
  type ProcessId,
} from '@apus/shared/protocol'
import { beforeEach, describe, expect, it } from 'vitest'
import type { AoMessageInput } from '../../../shared/src/ao/ao-client.ts'
import { signDataItem } from '../../../shared/src/arweave/data-item.ts'
import type { JobRequest } from '../../../shared/src/network/network-client.ts'
import { MAX_DISPUTE_BYTES } from '../../../shared/src/protocol/dispute.ts'
import { MAX_NEW_TOKENS, MAX_REDUNDANCY } from '../../../shared/src/protocol/job.ts'
import {
  MAX_AMOUNT_DIGITS,
  MAX_BATCH_TRANSFERS,
  MAX_LISTING_BYTES,
  MAX_REFERENCE_BYTES,
  MAX_SERVED_MODELS,
  MAX_STOP_UNITS,
  MAX_STOPS,
  MAX_TICK_MOVES,
} from '../../../shared/src/protocol/limits.ts'

const id = <T extends string>(letter: string) => letter.repeat(43) as T
const LONGEST = 10n ** BigInt(MAX_AMOUNT_DIGITS) - 1n
const MODEL = id<ModelId>('M')

const sent: AoMessageInput[] = []
let state: Record<string, string>
const client = new NetworkClient(
  {
    sendAndWait: async message => {
      sent.push(message)
      return { id: id('I'), messages: [], output: undefined } as never
    },
    state: async (_, path) => state[path],
  },
  { network: id<ProcessId>('N'), token: id<ProcessId>('T') },
)
beforeEach(() => {
  sent.length = 0
  state = {}
})

const job = (change: Partial<JobRequest> = {}): JobRequest => ({
  model: MODEL,
  prompt: 'hi',
  maxTokens: 1,
  ...change,
})
const listing = { id: MODEL, name: 'n', class: 'llama.cpp', basePrice: '0', tokenPrice: '0', maxContext: 1 }
const digests = {
  promptTokens: id('d'),
  tokenDigest: id('d'),
  checkpointRoot: id('d'),
  kvRoot: id('d'),
  answerRoot: id('d'),
}
const revealed = (bytes: number) => {
  const result = { ...digests, count: 1, finish: 'stop' } as const
  return client.reveal(id<JobId>('J'), id('s'), result, {
    tokens: 'AAAA',
    pieces: [Buffer.alloc(bytes).toString('base64')],
  })
}
const models = (count: number) =>
  Array.from({ length: count }, (_, i) => String(i).padEnd(43, 'm') as ModelId)
const bob = (count: number) => Array.from({ length: count }, () => ({ recipient: id('b'), quantity: 1n }))
const header = (bytes: number) => 'h'.repeat(bytes - 2)
const payload = (bytes: number) => ({ action: 'Open-Dispute', tags: {}, data: header(bytes) }) as const

describe('the client sends what is at a limit, and nothing that is over it', () => {
  const cases: readonly (readonly [string, string, () => Promise<unknown>, () => Promise<unknown>])[] = [
    [
      'a class',
      'bad-tag',
      () => client.listModel({ ...listing, class: 'c'.repeat(MAX_CLASS_BYTES) }),
      () => client.listModel({ ...listing, class: 'c'.repeat(MAX_CLASS_BYTES + 1) }),
    ],
    [
      'a name',
      'bad-tag',
      () => client.listModel({ ...listing, name: 'n'.repeat(MAX_NAME_BYTES) }),
      () => client.listModel({ ...listing, name: `${'é'.repeat(MAX_NAME_BYTES / 2)}n` }),
    ],
    [
      'a header',
      'bad-data',
      () => client.listModel(listing, header(MAX_LISTING_BYTES)),
      () => client.listModel(listing, header(MAX_LISTING_BYTES + 1)),
    ],
    [
      'served models',
      'bad-data',
      () => client.serve(models(MAX_SERVED_MODELS)),
      () => client.serve(models(MAX_SERVED_MODELS + 1)),
    ],
    ['moves of a tick', 'bad-tag', () => client.tick(MAX_TICK_MOVES), () => client.tick(MAX_TICK_MOVES + 1)],
    ['stake asked back', 'bad-tag', () => client.unstake(LONGEST), () => client.unstake(LONGEST + 1n)],
    ['a withdrawal', 'bad-tag', () => client.withdraw(1n), () => client.withdraw(0n)],
    [
      'a transfer',
      'bad-tag',
      () => client.transfer(id<Address>('b'), LONGEST),
      () => client.transfer(id<Address>('b'), LONGEST + 1n),
    ],
    [
      'a transfer to somebody',
      'bad-tag',
      () => client.transfer(id<Address>('b'), 1n),
      () => client.transfer('b' as Address, 1n),
    ],
    ['a stake', 'bad-tag', () => client.stake(1n), () => client.stake(-1n)],
    [
      'a batch',
      'bad-data',
      () => client.batchTransfer(bob(MAX_BATCH_TRANSFERS)),
      () => client.batchTransfer(bob(MAX_BATCH_TRANSFERS + 1)),
    ],
    [
      'an answer',
      'answer-too-large',
      () => revealed(MAX_INLINE_ANSWER_BYTES),
      () => revealed(MAX_INLINE_ANSWER_BYTES + 1),
    ],
    [
      'a move of a dispute',
      'too-large',
      () => client.dispute(payload(MAX_DISPUTE_BYTES)),
      () => client.dispute(payload(MAX_DISPUTE_BYTES + 1)),
    ],
    [
      'tokens',
      'bad-tag',
      () => client.submitJob(job({ maxTokens: MAX_NEW_TOKENS })),
      () => client.submitJob(job({ maxTokens: MAX_NEW_TOKENS + 1 })),
    ],
    [
      'seats',
      'bad-tag',
      () => client.submitJob(job({ redundancy: MAX_REDUNDANCY })),
      () => client.submitJob(job({ redundancy: MAX_REDUNDANCY + 1 })),
    ],
    [
      'stop strings',
      'bad-stop',
      () => client.submitJob(job({ stop: Array(MAX_STOPS).fill('s') })),
      () => client.submitJob(job({ stop: Array(MAX_STOPS + 1).fill('s') })),
    ],
    [
      'a stop string',
      'bad-stop',
      () => client.submitJob(job({ stop: ['😀'.repeat(MAX_STOP_UNITS / 2)] })),
      () => client.submitJob(job({ stop: [`${'😀'.repeat(MAX_STOP_UNITS / 2)}s`] })),
    ],
    [
      'half a character',
      'bad-stop',
      () => client.submitJob(job({ stop: ['😀'] })),
      () => client.submitJob(job({ stop: ['\ud83d'] })),
    ],
    [
      'a sampler',
      'bad-sampler',
      () => client.submitJob(job({ sampler: { topK: 1024 } })),
      () => client.submitJob(job({ sampler: { topK: 1025 } })),
    ],
    [
      'a prompt',
      'prompt-too-large',
      () => client.submitJob(job({ prompt: 'p'.repeat(MAX_PROMPT_BYTES) })),
      () => client.submitJob(job({ prompt: 'p'.repeat(MAX_PROMPT_BYTES + 1) })),
    ],
    [
      'no prompt, which would travel as a space',
      'no-prompt',
      () => client.submitJob(job({ prompt: ' ' })),
      () => client.submitJob(job({ prompt: '' })),
    ],
    [
      'half a character in a prompt',
      'bad-prompt',
      () => client.submitJob(job({ prompt: '😀' })),
      () => client.submitJob(job({ prompt: '\ud83d' })),
    ],
    [
      'the reference of a paid job',
      'bad-tag',
      () => client.payForJob({ ...job(), reference: 'r'.repeat(MAX_REFERENCE_BYTES) }, 1n),
      () => client.payForJob({ ...job(), reference: 'r'.repeat(MAX_REFERENCE_BYTES + 1) }, 1n),
    ],
    ['a job', 'bad-tag', () => client.retract(id<JobId>('J')), () => client.retract('J' as JobId)],
  ]

  it.each(cases)('%s', async (_, code, taken, over) => {
    await taken()
    expect(sent).toHaveLength(1)
    await expect(over()).rejects.toMatchObject({
      name: 'ApusError',
      code,
      message: expect.stringMatching(/\.$/),
    })
    expect(sent).toHaveLength(1)
  })
})

describe('a requester', () => {
  const requester = new Requester(client, { clock: systemClock, address: id<Address>('a') })
  const ask = async (request: JobRequest) => {
    const view = {
      ...listing,
      basePrice: '1',
      tokenPrice: '1',
      verifiable: false,
      maxContext: 256,
      lister: id('l'),
    }
    state.parameters = JSON.stringify({ redundancy: 3 })
    state[`models/${MODEL}`] = JSON.stringify(view)
    return errorCode(await requester.submit(request).catch(error => error))
  }

  it.each([
    ['tokens', job({ maxTokens: MAX_NEW_TOKENS + 1 }), 'bad-tag'],
    ['more tokens than the model holds', job({ maxTokens: 257 }), 'bad-tag'],
    ['an empty prompt', job({ prompt: '' }), 'no-prompt'],
    ['a sampler out of range', job({ sampler: { seed: 2 ** 32 } }), 'bad-sampler'],
  ])('is told of %s before it pays', async (_, request, code) => {
    expect(await ask(request)).toBe(code)
    expect(sent).toEqual([])
  })

  it('asks at the limit of the model', async () => {
    state[`accounts/${id('a')}`] = String(10n ** 6n)
    expect(await ask(job({ maxTokens: 256 }))).toBeUndefined()
    expect(sent).toHaveLength(1)
  })
})

it('tags that no data item can hold are refused by name when it is signed', async () => {
  const wallet = await createWallet()
  const sign = (bytes: number) =>
    signDataItem({ tags: [{ name: 'n', value: 'v'.repeat(bytes) }], data: 'd' }, wallet)
  // Six of the 4096 bytes say how many tags there are and how long they are.
  expect((await sign(4090)).id).toHaveLength(43)
  await expect(sign(4091)).rejects.toMatchObject({ code: 'message-unsendable' })
})
