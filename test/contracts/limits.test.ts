import { encodeCanonical } from '@apus/shared/hashing'
import { errorCode } from '@apus/shared/kit'
import { MAX_INLINE_ANSWER_BYTES } from '@apus/shared/protocol'
import { beforeAll, describe, expect, it } from 'vitest'
import type { NetworkAction, TokenAction } from '../../shared/src/protocol/actions.ts'
import { MAX_DISPUTE_BYTES } from '../../shared/src/protocol/dispute.ts'
import { MAX_NEW_TOKENS } from '../../shared/src/protocol/job.ts'
import {
  MAX_BALANCES_PAGE,
  MAX_REFERENCE_BYTES,
  MAX_TAG_INTEGER,
  MAX_TICK_MOVES,
  MAX_U32,
  SIGNATURE_CHARACTERS,
} from '../../shared/src/protocol/limits.ts'
import { checkNetworkMessage, checkTokenMessage } from '../../shared/src/protocol/message-rules.ts'
import { MAX_COMMITMENT_BYTES } from '../../shared/src/protocol/signed-commitment.ts'
import { APUS, addressOf, digestOf, type Outcome, type Tags } from '../support/contracts.ts'
import {
  type Cast,
  commitAll,
  type Miner,
  MODEL,
  resultOf,
  seated,
  setUp,
  submit,
} from '../support/contracts-cast.ts'
import {
  amountEdge,
  BATCH_EDGE,
  type Change,
  dataEdge,
  type Edge,
  JOB_EDGES,
  jsonOf,
  LISTING_EDGES,
  peerOfLength,
  REGISTER_EDGES,
  SERVED_MODELS,
  TRANSFER_EDGES,
  tagEdge,
  wholeEdge,
} from '../support/limit-edges.ts'

let cast: Cast
/** Numbers the messages, so that nothing is listed twice. */
let turns = 0
const WALLET = addressOf('requester')
beforeAll(async () => {
  cast = await setUp({ miners: 4, parameters: { listingBond: '1' } })
  await cast.world.pay(WALLET, 8_000n * APUS, 'Deposit')
})

const clientCode = (check: () => void): string | undefined => {
  try {
    check()
    return undefined
  } catch (error) {
    return errorCode(error) ?? String(error)
  }
}

/** Lets the client's rule and the real contract judge the same messages. `otherwise`: what the contract may say of a taken value. */
async function compare(
  process: 'network' | 'token',
  action: string,
  base: (turn: number) => Required<Change>,
  edge: Edge,
  otherwise: readonly string[] = [],
  from = WALLET,
): Promise<void> {
  const { world } = cast
  const judge = async (change: Change) => {
    const usual = base(turns++)
    const tags = { ...usual.tags, ...change.tags }
    const text = change.data ?? usual.data
    const message = { tags, data: text }
    const client = clientCode(() =>
      process === 'network'
        ? checkNetworkMessage(action as NetworkAction, message)
        : checkTokenMessage(action as TokenAction, message),
    )
    const outcome: Outcome = await world.send(from, world[process], action, tags, text)
    return { client, contract: outcome.code }
  }
  const shown = (change: Change) => `${edge.name}: ${JSON.stringify(change).slice(0, 100)}`
  for (const change of edge.taken) {
    const { client, contract } = await judge(change)
    expect(
      { client, contract: contract && otherwise.includes(contract) ? undefined : contract },
      shown(change),
    ).toEqual({ client: undefined, contract: undefined })
  }
  for (const change of edge.refused)
    expect(await judge(change), shown(change)).toEqual({
      client: edge.code,
      contract: edge.code,
    })
}
describe('client and contract accept and refuse the same messages', () => {
  it.each(LISTING_EDGES)('List-Model: $name', async edge => {
    const base = (turn: number) => ({
      tags: {
        Model: addressOf(`listed-${turn}`),
        Class: 'llama.cpp/b1',
        Name: 'a model',
        'Base-Price': '1',
        'Token-Price': '1',
        'Max-Context': '1',
      },
      data: '{}',
    })
    await compare('network', 'List-Model', base, edge)
  })

  it.each(JOB_EDGES)('Submit-Job: $name', async edge => {
    const base = () => ({ tags: { Model: MODEL, 'Max-Tokens': '1' }, data: 'hi' })
    await compare('network', 'Submit-Job', base, edge)
  })

  it('a job that is paid by a transfer', async () => {
    const { world } = cast
    for (const [bytes, code] of [
      [MAX_REFERENCE_BYTES, undefined],
      [MAX_REFERENCE_BYTES + 1, 'bad-tag'],
    ] as const) {
      const tags = { 'X-Model': MODEL, 'X-Max-Tokens': '1', 'X-Reference': 'p'.repeat(bytes) }
      const transfer = {
        Recipient: world.network,
        Quantity: String(10n * APUS),
        'X-Action': 'Submit-Job',
        ...tags,
      }
      expect(clientCode(() => checkTokenMessage('Transfer', { tags: transfer, data: 'hi' }))).toBe(code)
      const before = world.received(WALLET, 'Credit-Notice').length
      await world.send(WALLET, world.token, 'Transfer', transfer, 'hi')
      expect(world.received(WALLET, 'Credit-Notice')[before]?.tags['X-Code']).toBe(code)
    }
  })

  it.each(REGISTER_EDGES)('Register: $name', async edge => {
    const base = () => ({
      tags: {
        'Peer-Id': peerOfLength(52),
        'Node-Signature': 'A'.repeat(SIGNATURE_CHARACTERS),
        Expires: String(MAX_TAG_INTEGER),
      },
      data: '',
    })
    await compare('network', 'Register', base, edge)
  })

  it('Serve', async () => {
    const { world } = cast
    for (const model of SERVED_MODELS)
      await world.send(
        WALLET,
        world.network,
        'List-Model',
        {
          Model: model,
          Class: 'llama.cpp/b1',
          Name: 'm',
          'Base-Price': '1',
          'Token-Price': '1',
          'Max-Context': '1',
        },
        '{}',
      )
    const list = (ids: readonly string[]) => JSON.stringify(ids)
    const base = () => ({ tags: {}, data: '[]' })
    const edge = dataEdge(
      'models',
      'bad-data',
      [list([]), list(SERVED_MODELS)],
      [list([...SERVED_MODELS, addressOf('one more')]), list([MODEL, MODEL]), list(['x']), '{"a":1}', ''],
    )
    await compare('network', 'Serve', base, edge, [], cast.miners[0]?.address)
  })

  it.each(['Unstake', 'Withdraw'])('%s', async action => {
    const base = () => ({ tags: { Quantity: '1' }, data: '' })
    await compare('network', action, base, amountEdge('Quantity'), ['stake-locked', 'underpaid'])
  })

  it('Tick', async () => {
    const base = () => ({ tags: {}, data: '' })
    await compare('network', 'Tick', base, wholeEdge('Limit', 0, MAX_TICK_MOVES))
  })

  it.each(TRANSFER_EDGES)('Transfer: $name', async edge => {
    const base = () => ({ tags: { Recipient: addressOf('bob'), Quantity: '1' }, data: '' })
    await compare('token', 'Transfer', base, edge, ['insufficient-balance'])
  })

  it('Batch-Transfer, Burn and Balances', async () => {
    const nothing = () => ({ tags: {}, data: '' })
    await compare('token', 'Batch-Transfer', nothing, BATCH_EDGE)
    await compare('token', 'Burn', () => ({ tags: { Quantity: '1' }, data: '' }), amountEdge('Quantity'), [
      'insufficient-balance',
    ])
    await compare('token', 'Balances', nothing, wholeEdge('Limit', 1, MAX_BALANCES_PAGE))
  })
})

describe('client and contract accept and refuse the same messages of a seat', () => {
  /** A job in which the seats have committed to an answer of this many bytes. */
  async function committed(bytes: number) {
    const result = resultOf(['x'.repeat(bytes)])
    const job = await submit(cast, { 'X-Model': MODEL })
    await commitAll(cast, job, result)
    const [first, second] = seated(cast, job, ['committed']) as [Miner, Miner]
    const tags = (seat: Miner): Tags => ({
      Job: job,
      Salt: seat.salt(job),
      Count: '1',
      Finish: 'stop',
      'Token-Digest': result.tokenDigest,
      'Checkpoint-Root': result.checkpointRoot,
      'Kv-Root': result.kvRoot,
      'Answer-Root': result.answerRoot,
    })
    const inline = JSON.stringify({ tokens: result.tokens, pieces: result.pieces })
    return { job, first, second, tags, inline, tokens: JSON.stringify({ tokens: result.tokens }) }
  }

  it('Reveal', async () => {
    const large = await committed(MAX_INLINE_ANSWER_BYTES + 1)
    const stored = { ...large.tags(large.first), 'Answer-Id': addressOf('stored') }
    const base = () => ({ tags: { ...stored, 'Answer-Size': '1' }, data: large.tokens })
    const size = tagEdge('Answer-Size', 'bad-tag', [String(MAX_U32)], ['0', String(MAX_U32 + 1)])
    await compare('network', 'Reveal', base, { ...size, taken: [] }, [], large.first.address)
    await compare('network', 'Reveal', base, { ...size, refused: [] }, [], large.first.address)
    const inline = { name: 'an answer in the message', code: 'answer-too-large' }
    await compare(
      'network',
      'Reveal',
      () => ({ tags: large.tags(large.second), data: large.inline }),
      { ...inline, taken: [], refused: [{}] },
      [],
      large.second.address,
    )
    const fitting = await committed(MAX_INLINE_ANSWER_BYTES)
    const fits = () => ({ tags: fitting.tags(fitting.first), data: fitting.inline })
    await compare(
      'network',
      'Reveal',
      fits,
      { ...inline, taken: [{}], refused: [] },
      [],
      fitting.first.address,
    )
    const { second } = fitting
    const count = tagEdge('Count', 'bad-tag', ['1'], ['0', String(MAX_NEW_TOKENS + 1)])
    const again = () => ({ tags: fitting.tags(second), data: fitting.inline })
    await compare('network', 'Reveal', again, { ...count, taken: [] }, [], second.address)
  })

  it('disputes and proofs', async () => {
    const { job, first, tags, inline } = await committed(5)
    const seats = seated(cast, job, ['committed'])
    for (const seat of seats)
      await cast.world.send(seat.address, cast.world.network, 'Reveal', tags(seat), inline)
    const accused = { Job: job, Accused: first.address }
    const size = dataEdge(
      'the data',
      'too-large',
      [jsonOf(MAX_DISPUTE_BYTES)],
      [jsonOf(MAX_DISPUTE_BYTES + 1)],
    )
    const open = () => ({ tags: { ...accused, Position: '0' }, data: '{}' })
    await compare('network', 'Open-Dispute', open, size, ['no-prompt-length'])
    const voids = () => ({ tags: { Model: MODEL, Leaf: '0' }, data: '{}' })
    await compare('network', 'Void-Model', voids, size, ['bad-data'])
    const leaf = JSON.stringify({ leaf: 'AAAA', path: '' })
    for (const action of ['Prove-Structure', 'Prove-Answer']) {
      await compare('network', action, () => ({ tags: { ...accused, Index: '0' }, data: leaf }), size, [
        'bad-data',
      ])
    }
    const structure = () => ({ tags: accused, data: leaf })
    const index = tagEdge('Index', 'bad-tag', ['0', String(MAX_U32)], ['-1', String(MAX_U32 + 1)])
    await compare('network', 'Prove-Structure', structure, index, ['wrong-path'])

    const { world } = cast
    const statement = (bytes: number): string => {
      const said = {
        v: 1,
        d: 'apus/commitment',
        n: world.network,
        j: job,
        m: first.address,
        c: digestOf('c'),
      }
      const least = encodeCanonical({ ...said, p: 'p'.repeat(256) }).length - 256
      return Buffer.from(encodeCanonical({ ...said, p: 'p'.repeat(bytes - least) })).toString('base64')
    }
    const proof = (...statements: string[]): string =>
      JSON.stringify({
        said: statements.map(s => ({
          statement: s,
          signature: 'AAAA',
          salt: digestOf('s'),
          root: digestOf('r'),
        })),
      })
    const longest = statement(MAX_COMMITMENT_BYTES)
    const equivocation = () => ({ tags: accused, data: '' })
    const long = dataEdge(
      'a statement',
      'bad-statement',
      [proof(longest)],
      [proof(statement(MAX_COMMITMENT_BYTES + 1))],
    )
    await compare('network', 'Prove-Equivocation', equivocation, long, ['wrong-key'])
    const many = dataEdge(
      'statements',
      'bad-data',
      [proof(longest, longest)],
      [proof(), proof(longest, longest, longest)],
    )
    await compare('network', 'Prove-Equivocation', equivocation, many, ['wrong-key'])
  })
})
