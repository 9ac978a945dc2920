import type { DisputeMessage } from '@apus/shared/dispute'
import { fromBase64 } from '@apus/shared/hashing'
import { decodePieces, jobNoise, piecesInLeaf } from '@apus/shared/machine'
import { OracleReplay, provingBundle, type Replay } from '@apus/shared/replay'
import fc from 'fast-check'
import { beforeAll, expect, it } from 'vitest'
import { toBase64 } from '../../shared/src/hashing/bytes.ts'
import { pageLeaf } from '../../shared/src/machine/digests.ts'
import { readInput } from '../../shared/src/machine/inputs.ts'
import { pieceAddress } from '../../shared/src/machine/layout.ts'
import { planStage, stageCount } from '../../shared/src/machine/plan.ts'
import { recompute } from '../../shared/src/machine/recompute.ts'
import { operationDigest } from '../../shared/src/machine/value-tree.ts'
import { samplerSettings } from '../../shared/src/protocol/sampler.ts'
import { pretending, stoppedAt, withWrongPiece, withWrongRow } from '../support/dispute/lies.ts'
import { type Played, play, resultOf } from '../support/dispute/play.ts'
import { type MemoryBundle, randomBundle } from '../support/machine/random-model.ts'
import { gameSeed } from '../support/random.ts'

const DISPUTES = 10_000
const never = new AbortController().signal

interface Case {
  readonly bundle: MemoryBundle
  readonly run: Replay
}
const cases: Case[] = []

/** A run that keeps what it has traced: thousands of disputes are about it. */
function remembering(run: OracleReplay): Replay {
  const known = new Map<string, ReturnType<Replay['operations']>>()
  const remembered = pretending(run, {
    operations: (position, stage) => {
      const key = `${position} ${stage}`
      const found = known.get(key) ?? run.operations(position, stage)
      known.set(key, found)
      return found
    },
  })
  return Object.assign(remembered, {
    reading: (tokens: readonly number[]) => remembering(run.reading(tokens)),
  })
}

beforeAll(async () => {
  const samplers = [
    {},
    { temperature: 50_000, topK: 5, topP: 60_000, repeatPenalty: 70_000 },
    { temperature: 65_536, topP: 40_000 },
    { temperature: 30_000, topK: 3 },
  ]
  for (const [seed, sampler] of samplers.entries()) {
    const bundle = randomBundle({ name: 'small', layers: 2, heads: 2, kvHeads: 1 }, seed)
    const prompt = Array.from({ length: [3, 61, 1, 66][seed]! }, (_, i) => (i * 7 + seed) % 70)
    const request = {
      prompt,
      sampler: samplerSettings.parse(sampler),
      noise: jobNoise('job', seed),
      maxTokens: 5,
      stop: seed % 2 === 0 ? [] : [Uint8Array.of(97, 98, 99)],
    }
    const run = await OracleReplay.run(provingBundle(bundle.root, bundle.leaves), request, never)
    cases.push({ bundle, run: remembering(run) })
  }
}, 60_000)

const flip = (bytes: Uint8Array, at: number): Uint8Array => {
  const copy = bytes.slice()
  copy[at % copy.length] = copy[at % copy.length]! ^ (1 << (at % 7))
  return copy
}

/** The model's bytes for a token. */
function pieceOf(run: Replay, token: number): Uint8Array {
  const { layout, manifest } = run.terms
  const { leaf, index } = pieceAddress(layout, token)
  return decodePieces(run.bundleLeaf(leaf), piecesInLeaf(manifest.vocab, leaf - layout.pieces))[index]!
}

/** One operation of one chosen token gives something else, and what is committed to follows from it. */
function withWrongOperation(run: Replay, a: number, b: number, c: number, at: number): Replay {
  const { promptLength, manifest } = run.terms
  const i = a % run.tokens.length
  const position = promptLength - 1 + i
  const stage = b % stageCount(run.terms, position)
  const plan = planStage(run.terms, position, stage)
  const k = c % plan.length
  const operations = (p: number, s: number) => {
    const own = run.operations(p, s)
    if (p !== position || s < stage) return own
    const last = own.length - 1
    return own.map((leaves, o) => {
      const hit = (s === stage && o === k) || (o === last && s <= manifest.layers)
      return hit ? leaves.map((leaf, n) => (n === at % leaves.length ? flip(leaf, at) : leaf)) : leaves
    })
  }
  const checkpoint = Buffer.from(run.checkpoints[i]!)
  const x = planStage(run.terms, position, manifest.layers)
  checkpoint.set(operationDigest(operations(position, manifest.layers).at(-1)!, x.at(-1)!.leavesPerRun), 9)
  if (stage === manifest.layers + 1) {
    const token = (checkpoint.readUInt32LE(4) + 1) % manifest.vocab
    checkpoint.writeUInt32LE(token, 4)
    // Says everywhere that it has chosen another one, or here alone.
    const said =
      at % 3 === 0
        ? {}
        : { tokens: run.tokens.with(i, token), pieces: run.pieces.with(i, pieceOf(run, token)) }
    const stop = Uint8Array.from(checkpoint.subarray(4, 9))
    const head = (p: number, s: number) => {
      const values = operations(p, s)
      return p === position && s === stage ? [...values.slice(0, -1), [stop]] : values
    }
    const leaf = new Uint8Array(checkpoint)
    return pretending(run, { ...said, operations: head, checkpoints: run.checkpoints.with(i, leaf) })
  }
  return pretending(run, { operations, checkpoints: run.checkpoints.with(i, new Uint8Array(checkpoint)) })
}

const lie = fc.record({
  which: fc.nat(3),
  kind: fc.constantFrom(
    'operation',
    'operation',
    'operation',
    'row',
    'rows',
    'piece',
    'stop',
    'tokens',
    'several',
  ),
  a: fc.nat(1000),
  b: fc.nat(1000),
  c: fc.nat(1000),
  at: fc.nat(5000),
  shown: fc.boolean(),
  /** At which of its messages a party turns mad, and how. */
  mad: fc.option(fc.tuple(fc.nat(5), fc.constantFrom('silent', 'garbage', 'cut')), {
    freq: 3,
    nil: undefined,
  }),
})
type Lie = typeof lie extends fc.Arbitrary<infer T> ? T : never

function liarOf(run: Replay, random: Lie): Replay {
  const { kind, a, b, c, at } = random
  const written = run.terms.promptLength + run.tokens.length - 1
  switch (kind) {
    case 'operation':
      return withWrongOperation(run, a, b, c, at)
    case 'row': {
      const position = a % written
      const { layers, kvHeads } = run.terms.manifest
      const pair = Math.floor(position / 64) * layers * kvHeads + (b % (layers * kvHeads))
      return withWrongRow(run, 2 * pair + (c % 2), position % 64)
    }
    case 'rows':
      return liarOf(liarOf(run, { ...random, kind: 'row' }), { ...random, kind: 'row', a: b, b: c, c: a })
    case 'several': {
      const kinds = ['operation', 'row', 'tokens', 'piece'] as const
      const one = liarOf(run, { ...random, kind: kinds[b % 4]! })
      return liarOf(one, { ...random, kind: kinds[c % 4]!, a: c, b: a, c: b, at: at + 1 })
    }
    case 'tokens': {
      const i = a % run.tokens.length
      const token = (run.tokens[i]! + 1 + (b % (run.terms.manifest.vocab - 1))) % run.terms.manifest.vocab
      const pieces = c % 2 ? run.pieces : run.pieces.with(i, pieceOf(run, token))
      return pretending(run, { tokens: run.tokens.with(i, token), pieces })
    }
    case 'piece':
      return withWrongPiece(run, a % run.tokens.length, Uint8Array.of(200, at % 256))
    case 'stop':
      return stoppedAt(run, 1 + (a % (run.tokens.length - 1 || 1)), ([0, 1, 3, 4] as const)[b % 4]!)
  }
}

/** A party that turns mad at one of its messages. */
const tampering = (who: 'accused' | 'challenger', mad: Lie['mad']) => {
  let sent = 0
  return (by: 'accused' | 'challenger', message: DisputeMessage): DisputeMessage | undefined => {
    if (by !== who || mad === undefined || sent++ !== mad[0]) return message
    if (mad[1] === 'silent') return undefined
    const spoil = (value: unknown): unknown => {
      if (typeof value === 'string') {
        const bytes = fromBase64(value)
        return toBase64(mad[1] === 'cut' ? bytes.slice(0, bytes.length >> 1) : flip(bytes, 3))
      }
      if (Array.isArray(value)) return value.map(spoil)
      if (value === null || typeof value !== 'object') return value
      return Object.fromEntries(Object.entries(value).map(([name, part]) => [name, spoil(part)]))
    }
    const tags = message.data === undefined ? Object.entries(message.tags) : []
    const moved = tags.map(([name, value]) => [name, name === 'Dispute' ? value : String(Number(value) + 1)])
    return { ...message, tags: { ...message.tags, ...Object.fromEntries(moved) }, data: spoil(message.data) }
  }
}

const samePlace = (a: Replay, b: Replay) => JSON.stringify(resultOf(a)) === JSON.stringify(resultOf(b))

it('an honest challenger convicts every liar, whatever it says or withholds', { timeout: 280_000 }, () => {
  const ends = new Map<Played['state'], number>()
  fc.assert(
    fc.property(lie, random => {
      const { bundle, run } = cases[random.which]!
      const liar = liarOf(run, random)
      const result = resultOf(liar, random.kind === 'stop' && random.c % 2 ? 'stop' : undefined)
      const played = play({
        model: bundle.root,
        challenger: run,
        accused: liar,
        result,
        ...(random.shown ? { leaves: liar } : {}),
        tamper: tampering('accused', random.mad),
      })
      ends.set(played.state, (ends.get(played.state) ?? 0) + 1)
      if (played.state === 'none') return samePlace(run, liar)
      if (played.messages.length > (random.shown ? 8 : 12)) return false
      return played.state === 'proven' || (played.state === 'silent' && played.refusals.length > 0)
    }),
    { seed: gameSeed(4), numRuns: DISPUTES / 2 },
  )
  expect(ends.get('proven')).toBeGreaterThan(DISPUTES / 4)
  expect(ends.get('none') ?? 0).toBeLessThan(DISPUTES / 20)
})

it('an honest accused survives every accusation', { timeout: 280_000 }, () => {
  fc.assert(
    fc.property(lie, fc.nat(100), (random, position) => {
      const { bundle, run } = cases[random.which]!
      const accuser = liarOf(run, random)
      const opening: DisputeMessage = {
        action: 'Open-Dispute',
        tags: { Position: String(position) },
        data: {},
      }
      const played = play({
        model: bundle.root,
        challenger: accuser,
        accused: run,
        result: resultOf(run),
        ...(random.shown ? { leaves: run } : {}),
        ...(random.at % 3 === 0 ? { opening } : {}),
        tamper: tampering('challenger', random.mad),
      })
      return ['none', 'refuted', 'abandoned', 'running'].includes(played.state)
    }),
    { seed: gameSeed(5), numRuns: DISPUTES / 2 },
  )
})

it('proves a wrong row at its link, when the run reckons with it as if it were right', () => {
  const { bundle, run } = cases[0]!
  const { promptLength, layout, manifest } = run.terms
  const position = promptLength
  const stage = 1
  const plan = planStage(run.terms, position, stage)
  const k = plan.findIndex(({ name }) => name === 'page.0.0')
  const page = run.page(1).slice()
  page[64 + position * 2 * manifest.headSize + 1]! ^= 16
  const base = pretending(run, {
    page: index => (index === 1 ? page : run.page(index)),
    pageLeaves: run.pageLeaves.with(1, pageLeaf(page)),
  })
  const chunks = Array.from({ length: plan[k]!.chunks }, (_, c) => {
    const { step, inputs } = plan[k]!.chunk(c)
    const read = inputs.map(input =>
      readInput(input, {
        layout,
        vocab: manifest.vocab,
        value: (_, name) => run.operations(position, stage)[plan.findIndex(o => o.name === name)]!,
        bundle: leaf => run.bundleLeaf(leaf),
        page: (_page, _layer, _head, kv) => base.page(kv),
        token: () => 0,
        piece: () => new Uint8Array(),
      }),
    )
    return recompute(step!, read)
  })
  const wrong = withWrongOperation(base, 1, stage, plan.length - 1, 3)
  const liar = pretending(wrong, {
    operations: (p, s) => {
      const own = wrong.operations(p, s)
      return p === position && s === stage ? own.with(k, chunks) : own
    },
  })
  for (const leaves of [liar, undefined]) {
    const played = play({
      model: bundle.root,
      challenger: run,
      accused: liar,
      result: resultOf(liar),
      ...(leaves ? { leaves } : {}),
    })
    expect([played.state, played.messages.length]).toEqual(['proven', leaves ? 6 : 8])
    expect(played.messages.some(({ action }) => action === 'Pick-Row')).toBe(true)
  }
})
