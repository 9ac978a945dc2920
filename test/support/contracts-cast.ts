import { createHmac } from 'node:crypto'
import { merkleLeaf, merkleRoot, toBase64Url } from '@apus/shared/hashing'
import { promptTokensRoot } from '@apus/shared/machine'
import {
  commitmentOf,
  encodeTokens,
  type JobId,
  type JobView,
  type ProcessId,
  type Result,
  resultRoot,
  tokenDigest,
} from '@apus/shared/protocol'
import type { LuaValue } from '../../contracts-lua/tools/bundle.ts'
import { toBase64 } from '../../shared/src/hashing/bytes.ts'
import { APUS, addressOf, digestOf, type Outcome, type Tags, World } from './contracts.ts'
import { LISTED_BUNDLE, listingOf } from './listed-bundle.ts'
import type { MemoryBundle } from './machine/random-model.ts'

export const MODEL = LISTED_BUNDLE.root
export const CLASS = 'apus-machine-1'
export const BASE_PRICE = APUS
export const TOKEN_PRICE = APUS / 100n
export const MAX_TOKENS = 16
export const SEAT_PRICE = BASE_PRICE + TOKEN_PRICE * BigInt(MAX_TOKENS)
export const PROMPT_TOKENS = promptTokensRoot([1, 2, 3])

const PEER_LETTERS = '123456789ABCDEFGHJKLMNPQRSTUVWXYZabcdefghijkmnopqrstuvwxyz'

/** A peer id in form, unique by name. */
export const peerOf = (name: string): string =>
  `12D3KooW${[...digestOf(name)].map(c => (PEER_LETTERS.includes(c) ? c : 'z')).join('')}1`

export const SIGNATURE = 'A'.repeat(86)

/** What the Data of a reveal holds, base64. */
export interface Revealed {
  readonly tokens: string
  readonly pieces: string[]
}

export const tokensOf = (tokens: readonly number[]) => ({
  tokenDigest: tokenDigest(tokens),
  tokens: toBase64(encodeTokens(tokens)),
})

/** An answer of the given words: what an honest seat, or a liar with other words, commits to. */
export function resultOf(words: readonly string[], promptTokens = PROMPT_TOKENS): Result & Revealed {
  const pieces = words.map(word => Buffer.from(word))
  const tokens = words.map((_, i) => i)
  const answerRoot = merkleRoot(pieces.map(piece => merkleLeaf('apus/answer-piece', piece)))
  return {
    promptTokens,
    count: words.length,
    finish: 'stop',
    checkpointRoot: digestOf(`checkpoints ${words.join('')}`),
    kvRoot: digestOf('kv'),
    answerRoot: toBase64Url(answerRoot),
    ...tokensOf(tokens),
    pieces: pieces.map(piece => piece.toString('base64')),
  }
}

export const HONEST = resultOf(['The', ' answer', ' is', ' 42', ''])
/** What a seat that gives it earns. */
export const WAGE = BASE_PRICE + TOKEN_PRICE * BigInt(HONEST.count)
export const LIE = resultOf(['The', ' answer', ' is', ' 41', ''])

export class Miner {
  readonly world: World
  readonly address: string
  constructor(world: World, address: string) {
    this.world = world
    this.address = address
  }

  act(action: string, tags: Tags = {}, data = ''): Promise<Outcome> {
    return this.world.send(this.address, this.world.network, action, tags, data)
  }

  salt(job: string): string {
    return createHmac('sha256', this.address).update(this.world.network).update(job).digest('base64url')
  }

  commit(job: string, result = HONEST): Promise<Outcome> {
    const root = resultRoot(this.world.network as ProcessId, this.world.job(job), result)
    const commitment = commitmentOf(
      this.world.network as ProcessId,
      job as JobId,
      this.address as JobView['requester'],
      this.salt(job),
      root,
    )
    return this.act('Commit', {
      Job: job,
      'Output-Commitment': commitment,
      'Prompt-Tokens': result.promptTokens,
    })
  }

  reveal(job: string, result = HONEST, tags: Tags = {}, data?: string): Promise<Outcome> {
    return this.act(
      'Reveal',
      {
        Job: job,
        Salt: this.salt(job),
        Count: String(result.count),
        Finish: result.finish,
        'Token-Digest': result.tokenDigest,
        'Checkpoint-Root': result.checkpointRoot,
        'Kv-Root': result.kvRoot,
        'Answer-Root': result.answerRoot,
        ...tags,
      },
      data ?? JSON.stringify({ tokens: result.tokens, pieces: result.pieces }),
    )
  }
}

export interface Cast {
  readonly world: World
  readonly miners: readonly Miner[]
  readonly requester: string
  readonly lister: string
}

/** A network with a listed model and registered, staked miners that serve it. */
export async function setUp(
  options: {
    readonly miners?: number
    readonly class?: string
    readonly stake?: bigint
    /** What each miner holds besides its stake. */
    readonly purse?: bigint
    readonly parameters?: Readonly<Record<string, LuaValue>>
    /** The model that is listed and served. */
    readonly bundle?: MemoryBundle
    readonly maxContext?: number
  } = {},
): Promise<Cast> {
  const bundle = options.bundle ?? LISTED_BUNDLE
  const count = options.miners ?? 5
  const stake = options.stake ?? 5_000n * APUS
  const requester = addressOf('requester')
  const lister = addressOf('lister')
  const names = Array.from({ length: count }, (_, i) => addressOf(`miner-${i}`))
  const world = await World.create({
    ...(options.parameters ? { parameters: options.parameters } : {}),
    balances: {
      [requester]: 10_000n * APUS,
      [lister]: 1_000n * APUS,
      ...Object.fromEntries(names.map(n => [n, stake + (options.purse ?? 0n)])),
    },
  })
  await world.pay(lister, 100n * APUS, 'Deposit')
  await world.send(
    lister,
    world.network,
    'List-Model',
    {
      Model: bundle.root,
      Name: 'a model',
      Class: options.class ?? CLASS,
      'Base-Price': String(BASE_PRICE),
      'Token-Price': String(TOKEN_PRICE),
      'Max-Context': String(options.maxContext ?? 4096),
    },
    JSON.stringify(listingOf(bundle)),
  )
  const miners = names.map(name => new Miner(world, name))
  for (const miner of miners) {
    if (stake > 0n) await world.pay(miner.address, stake, 'Stake')
    await miner.act('Register', {
      'Peer-Id': peerOf(miner.address),
      'Node-Signature': SIGNATURE,
      Expires: String(world.now + 1_000 * 86_400_000),
    })
    await miner.act('Serve', {}, JSON.stringify([bundle.root]))
  }
  return { world, miners, requester, lister }
}

/** Tags of a submission, to be changed by a test. */
export const JOB_TAGS: Tags = { 'X-Model': MODEL, 'X-Max-Tokens': String(MAX_TOKENS) }
export const PRICE = SEAT_PRICE * 4n

/** Submits a job by token and returns its id. */
export async function submit(
  cast: Cast,
  tags: Tags = {},
  quantity: bigint = PRICE,
  prompt = 'What is the answer?',
): Promise<string> {
  const before = cast.world.received(cast.requester, 'Job-Accepted').length
  await cast.world.pay(cast.requester, quantity, 'Submit-Job', { ...JOB_TAGS, ...tags }, prompt)
  const accepted = cast.world.received(cast.requester, 'Job-Accepted')[before]
  if (!accepted) throw new Error('the job was not accepted')
  return String(accepted.tags.Job)
}

export const tick = (cast: Cast): Promise<Outcome> =>
  cast.world.send(addressOf('anyone'), cast.world.network, 'Tick')

/** The miners with a seat in one of the given states. */
export function seated(cast: Cast, job: string, states: readonly string[] = ['drawn']): Miner[] {
  const seats = cast.world.job(job).seats.filter(s => states.includes(s.state))
  return seats.map(s => cast.miners.find(m => m.address === s.miner)!)
}

/** Lets every drawn seat commit, audit seats included, until the job takes reveals. */
export async function commitAll(cast: Cast, job: string, result = HONEST): Promise<void> {
  for (let i = 0; i < 40 && cast.world.job(job).state !== 'revealing'; i++) {
    const [next] = seated(cast, job)
    if (next) await next.commit(job, result)
    else await tick(cast)
  }
}

export async function revealAll(cast: Cast, job: string, result = HONEST): Promise<void> {
  for (const miner of seated(cast, job, ['committed'])) await miner.reveal(job, result)
}
