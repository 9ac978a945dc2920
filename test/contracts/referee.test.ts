import { merkleLeaf } from '@apus/shared/hashing'
import type { SamplerSettings } from '@apus/shared/protocol'
import { beforeAll, describe, expect, it } from 'vitest'
import { Model } from '../../shared/src/machine/model.ts'
import { decodeRanked, encodeRanked } from '../../shared/src/machine/sampler.ts'
import { valueDigest } from '../../shared/src/machine/value-tree.ts'
import { samplerSettings } from '../../shared/src/protocol/sampler.ts'
import { type Lua, loadInAos, loadInPlainLua } from '../support/lua-modules.ts'
import {
  type ProvenInput,
  promptLeaves,
  promptRoot,
  rangePath,
  valueHash,
} from '../support/machine/proofs.ts'
import {
  AWKWARD_SHAPES,
  MemoryBundle,
  type ModelShape,
  randomBundle,
} from '../support/machine/random-model.ts'
import { type Question, REFEREE_MODULES, type RefereeRun, refereeRun } from '../support/machine/referee.ts'
import { seededRandom } from '../support/random.ts'

let aos: Lua
let plain: Lua | undefined
const random = seededRandom(4)

beforeAll(async () => {
  aos = await loadInAos(REFEREE_MODULES)
  plain = await loadInPlainLua(REFEREE_MODULES)
})

const SAMPLED: Partial<SamplerSettings> = {
  temperature: 60_000,
  topK: 5,
  topP: 60_000,
  repeatPenalty: 80_000,
  frequencyPenalty: 3000,
  presencePenalty: -20,
  seed: 9,
}

const refereeOf = (
  shape: ModelShape,
  seed: number,
  promptLength: number,
  sampler: Partial<SamplerSettings>,
  positions: readonly number[],
  stop: readonly string[] = ['ab', 'cd'],
  maxTokens = 4,
) => {
  const vocab = shape.vocab ?? 70
  const prompt = Array.from({ length: promptLength }, (_, i) => (i * 7 + 3) % vocab)
  const settings = samplerSettings.parse(sampler)
  return refereeRun(randomBundle(shape, seed), { prompt, sampler: settings, maxTokens, stop }, positions)
}

/** Of every operation that can be recomputed: first, last and any chunk, at most `each` of them. */
function questionsOf({ run, question }: RefereeRun, each: number): Question[] {
  const questions: Question[] = []
  for (const [position, { operations }] of run.positions) {
    for (const [stage, traced] of operations) {
      for (const [index, { operation }] of traced.entries()) {
        if (!operation.chunk(0).step) continue
        const { chunks } = operation
        const chosen = [chunks - 1, 0, random.below(chunks)].slice(0, each)
        for (const chunk of new Set(chosen)) questions.push(question(position, stage, index, chunk))
      }
    }
  }
  return questions
}

const nameOf = ({ run }: RefereeRun, q: Question): string =>
  `${q.position} ${run.positions.get(q.position)!.operations.get(q.stage)![q.operation]!.operation.name} ${q.chunk}`

/** The same question of an accused whose chunk has one other bit. */
function lied({ run }: RefereeRun, q: Question): Question {
  const { operation } = run.positions.get(q.position)!.operations.get(q.stage)![q.operation]!
  const { leaf, from, length } = operation.chunk(q.chunk)
  if ('leaves' in q.answer) {
    return {
      ...q,
      answer: { leaves: q.answer.leaves.map((hash, i) => (i === leaf ? flipped(hash, 0) : hash)) },
    }
  }
  const before = Array.from({ length: leaf }, (_, i) => operation.leafBytes(i)).reduce((a, b) => a + b, 0)
  return { ...q, answer: { values: flipped(q.answer.values, before + from + random.below(length)) } }
}

function flipped(bytes: Uint8Array, at: number): Uint8Array {
  const copy = bytes.slice()
  copy[at]! ^= 1 << random.below(8)
  return copy
}

/** Every one is correct, and every third time the accused lies it is a fault. */
async function judged(lua: Lua, referee: RefereeRun, questions: readonly Question[]): Promise<void> {
  for (let i = 0; i < questions.length; i += 100) {
    const part = questions.slice(i, i + 100)
    const lies = part.filter((_, at) => at % 3 === 0).map(q => lied(referee, q))
    const asked = [...part, ...lies]
    const said = await referee.judge(lua, asked)
    expect(asked.map((q, at) => `${nameOf(referee, q)} ${said[at]}`)).toEqual(
      asked.map((q, at) => `${nameOf(referee, q)} ${at < part.length ? 'correct' : 'fault'}`),
    )
  }
}

describe("the referee finds the oracle's chunk correct and every other chunk a fault", () => {
  for (const [i, shape] of AWKWARD_SHAPES.entries()) {
    it(`${shape.name}: every operation of a prompt position, the last of them and an answer`, async () => {
      const sampler = i % 2 === 0 ? SAMPLED : { ...SAMPLED, topK: 0 }
      const referee = await refereeOf(shape, 40 + i, 3, sampler, [0, 2, 3])
      const questions = questionsOf(referee, 2)
      expect(questions.length).toBeGreaterThan(40)
      if (plain) await judged(plain, referee, questions)
      const few = questionsOf(referee, 1)
      await judged(
        aos,
        referee,
        few.filter((_, at) => at % 3 === i % 3),
      )
    })
  }

  const settings: [string, Partial<SamplerSettings>][] = [
    ['greedy', {}],
    ['greedy with penalties', { repeatPenalty: 90_000, penaltyWindow: 2 }],
    ['temperature alone', { temperature: 65_536 }],
    ['top-k alone', { temperature: 65_536, topK: 69 }],
    ['top-p alone', { temperature: 1000, topP: 1, penaltyWindow: 0 }],
    ['top-k as large as the vocabulary', { temperature: 65_536, topK: 70, topP: 65_535 }],
  ]
  for (const [name, sampler] of settings) {
    it(`${name}, beyond the first page`, async () => {
      const referee = await refereeOf(AWKWARD_SHAPES[0]!, 7, 66, sampler, [63, 64, 65, 68])
      await judged(plain ?? aos, referee, questionsOf(referee, 2))
      await judged(aos, referee, questionsOf(referee, 1).slice(-12))
    })
  }

  it('beyond the first group of pages', async () => {
    const shape: ModelShape = { name: 'long', context: 5000, heads: 18, kvHeads: 2, hidden: 32 }
    const referee = await refereeOf(shape, 1, 4098, SAMPLED, [4096, 4098])
    await judged(plain ?? aos, referee, questionsOf(referee, 2))
  })

  it('with stop strings over the pieces of more than 64 tokens', async () => {
    const shape: ModelShape = { name: 'stops', heads: 1, vocab: 65 }
    const referee = await refereeOf(shape, 3, 2, { temperature: 262_144 }, [1, 30, 90], ['zz'], 99)
    const stops = questionsOf(referee, 1).filter(q => nameOf(referee, q).includes('stop'))
    expect(stops.map(q => q.inputs.length)).toEqual([2, 31, 65])
    await judged(aos, referee, stops)
  })
})

describe('what is not proven is refused', () => {
  let referee: RefereeRun
  const at = (position: number, name: string, chunk = 0): Question => {
    for (const [stage, traced] of referee.run.positions.get(position)!.operations) {
      const index = traced.findIndex(t => t.operation.name === name)
      if (index >= 0) return referee.question(position, stage, index, chunk)
    }
    throw new Error(`there is no ${name}`)
  }
  const withInput = (q: Question, i: number, change: (input: ProvenInput) => ProvenInput): Question => ({
    ...q,
    inputs: q.inputs.map((input, j) => (i === j ? change(input) : input)),
  })
  const codes = async (questions: readonly Question[]): Promise<string[]> => {
    const said = await referee.judge(aos, questions)
    if (plain) expect(await referee.judge(plain, questions)).toEqual(said)
    return said
  }
  const sameCode = async (questions: readonly Question[], code: string) =>
    expect(await codes(questions)).toEqual(questions.map(() => code))

  beforeAll(async () => {
    const shape: ModelShape = {
      name: 'refused',
      layers: 2,
      width: 1100,
      heads: 4,
      kvHeads: 2,
      hidden: 1100,
      vocab: 1500,
    }
    referee = await refereeOf(shape, 8, 66, SAMPLED, [64, 65, 67])
  })

  it('a place that the plan does not have', async () => {
    const q = at(65, 'act')
    const places = [
      { position: -1 },
      { position: 70 },
      { stage: 4 },
      { stage: -1 },
      { operation: 999 },
      { operation: -1 },
      { chunk: 2 },
      { chunk: -1 },
    ]
    const moved = places.map(place => ({ ...q, ...place }))
    for (const { position } of moved) {
      const { positions } = referee.run as unknown as { positions: Map<number, unknown> }
      if (!positions.has(position)) positions.set(position, positions.get(65))
    }
    await sameCode(moved, 'out-of-range')
  })

  it('advice', async () => {
    const q = at(65, 'topk.check')
    await sameCode([{ ...q, operation: q.operation - 2 }], 'advice')
  })

  it('inputs that are missing or too many', async () => {
    const questions = ['n1.scale', 'qkv.0', 'link', 'page.0.0', 'scores.0', 'topp.check', 'stop'].map(name =>
      at(67, name),
    )
    await sameCode(
      questions.flatMap(q => [
        { ...q, inputs: q.inputs.slice(0, -1) },
        { ...q, inputs: [] },
        { ...q, inputs: [...q.inputs, q.inputs[0]!] },
      ]),
      'wrong-inputs',
    )
  })

  it("inputs that are not the accused's, cut, padded, swapped, at another place or with another path", async () => {
    const names = [
      'embed',
      'n1.part',
      'n1.quant',
      'qkv.0',
      'rows',
      'link',
      'page.0.0',
      'group.0',
      'out',
      'act',
      'down',
      'scores.0',
      'stop',
    ]
    const changed = names.flatMap(name => {
      const q = at(67, name)
      return q.inputs.flatMap(({ leaf }, i) =>
        leaf.length === 0
          ? []
          : [
              withInput(q, i, input => ({ ...input, leaf: flipped(input.leaf, 0) })),
              withInput(q, i, input => ({ ...input, leaf: input.leaf.slice(0, -1) })),
              withInput(q, i, input => ({ ...input, leaf: Buffer.concat([input.leaf, Buffer.alloc(1)]) })),
              withInput(q, i, input => ({ ...input, path: [...input.path, Buffer.alloc(32)] })),
              withInput(q, i, input => ({
                ...input,
                path: input.path.length > 0 ? input.path.slice(1) : [Buffer.alloc(32, 7)],
              })),
            ],
      )
    })
    expect(changed.length).toBeGreaterThan(100)
    await sameCode(changed, 'wrong-path')
    const others = [
      // The other leaf of x, another row of the tile, another tile, another page, another group's run.
      [at(67, 'n1.part', 1), at(67, 'n1.part', 0)],
      [at(67, 'n1.quant', 1), at(67, 'n1.quant', 0)],
      [at(67, 'qkv.0', 1), at(67, 'qkv.0', 0)],
      [at(67, 'link', 0), at(67, 'link', 1)],
      [at(67, 'page.0.0', 0), at(67, 'page.0.0', 1)],
      [at(67, 'page.0.0', 0), at(65, 'page.0.0', 0)],
      [at(67, 'group.0', 0), at(67, 'group.0', 1)],
      [at(67, 'stop', 0), at(65, 'stop', 0)],
    ] as const
    await sameCode(
      others.map(([q, other]) => ({ ...q, inputs: other.inputs })),
      'wrong-path',
    )
  })

  it('a node that is passed as a leaf, and a leaf of another tree', async () => {
    const q = at(67, 'n1.part', 0)
    const x = q.inputs[0]!
    const node = Buffer.concat([valueHash(x.leaf), x.path[0]!])
    await sameCode(
      [
        withInput(q, 0, () => ({ leaf: node, path: [] })),
        withInput(at(67, 'link'), 1, () => at(67, 'link').inputs[0]!),
        withInput(at(67, 'qkv.0'), 1, () => at(67, 'o').inputs[1]!),
      ],
      'wrong-path',
    )
  })

  it('a bundle that the machine does not allow: nobody is at fault', async () => {
    const good = randomBundle(AWKWARD_SHAPES[0]!, 5)
    const { first } = new Model(good).layout.layers[0]!.gateUp
    const spoil = (at: number, value: number) => {
      const leaves = good.leaves.map(leaf => leaf.slice())
      leaves[first]![at] = value
      return new MemoryBundle(leaves)
    }
    const rows = 64
    const columns = 32
    const spoiled = [
      spoil(0, 128), // a weight of -128
      spoil(rows * columns + 1, 8), // a multiplier of 2048
      spoil(rows * columns + rows * 2, 57), // a shift
      spoil(rows * columns + rows * 2, 0),
      spoil(rows * columns + rows * 3 + 3, 0x7f), // a bias
    ]
    const request = { prompt: [1, 2], sampler: samplerSettings.parse({}), maxTokens: 1, stop: [] }
    const run = await refereeRun(good, request, [1])
    const index = run.run.positions
      .get(1)!
      .operations.get(1)!
      .findIndex(t => t.operation.name === 'gate_up.0')
    const honest = run.question(1, 1, index, 0)
    const asked = spoiled.map(({ leaves, root }): Question => {
      const hashes = leaves.map(leaf => merkleLeaf('apus.machine.1/bundle', leaf))
      const tile = { leaf: leaves[first]!, path: rangePath(hashes, first, 1) }
      return { ...withInput(honest, 1, () => tile), roots: { model: root } }
    })
    const judged = await run.judge(aos, [honest, ...asked, ...asked.map(q => lied(run, q))])
    expect(judged).toEqual(['correct', ...[...asked, ...asked].map(() => 'bad-bundle')])
  })

  it('a prompt that the machine does not allow: nobody is at fault', async () => {
    const q = at(64, 'embed')
    const tokens = [...referee.run.tokens.slice(0, 66)]
    tokens[64] = 1500
    const leaves = promptLeaves(tokens).map(leaf => merkleLeaf('apus.machine.1/prompt', leaf))
    const unknown = withInput({ ...q, roots: { promptTokens: promptRoot(tokens) } }, 0, () => ({
      leaf: promptLeaves(tokens)[1]!,
      path: rangePath(leaves, 1, 1),
    }))
    expect(await codes([unknown])).toEqual(['bad-prompt'])
  })
})

describe('what no run of the machine holds is a fault, whatever the accused says of it', () => {
  it('a row that is not in its page; a threshold that the rule does not give', async () => {
    const referee = await refereeOf(AWKWARD_SHAPES[1]!, 21, 5, { ...SAMPLED, seed: 2 }, [5])
    const { run } = referee
    const { operations } = run.positions.get(5)!
    const find = (name: string) => {
      for (const [stage, traced] of operations) {
        const index = traced.findIndex(t => t.operation.name === name)
        if (index >= 0) return { stage, index, ...traced[index]! }
      }
      throw new Error(`there is no ${name}`)
    }
    const link = find('link')
    const rows = find('rows')
    const wrongRows = rows.leaves.map((leaf, i) => (i === 6 ? flipped(leaf, 1) : leaf))
    const honestLink = referee.question(5, link.stage, link.index, 0)
    const wrongLink: Question = {
      ...honestLink,
      digests: new Map([[rows.index, valueDigest(wrongRows)]]),
      inputs: [
        { leaf: wrongRows[6]!, path: rangePath(wrongRows.map(valueHash), 6, 1) },
        honestLink.inputs[1]!,
      ],
    }
    const tau = find('topk.tau')
    const check = find('topk.check')
    const honest = referee.question(5, check.stage, check.index, 0)
    const next = decodeRanked(tau.leaves[0]!)
    const withTau = (leaf: Uint8Array, inputs = honest.inputs): Question => ({
      ...honest,
      digests: new Map([[tau.index, valueDigest([leaf])]]),
      inputs: inputs.map((input, i) => (i === 1 ? { leaf, path: [] } : input)),
    })
    const outOfVocabulary = encodeRanked({ ...next, index: 1091 })
    const scores = find('scores.0')
    const said = await referee.judge(aos, [
      honestLink,
      wrongLink,
      honest,
      withTau(encodeRanked({ ...next, value: next.value + 1 })),
      withTau(outOfVocabulary, honest.inputs.slice(0, -1)),
      withTau(tau.leaves[0]!.slice(1)),
      withTau(new Uint8Array()),
    ])
    expect(scores.leaves.length).toBe(2)
    expect(said).toEqual(['correct', 'fault', 'correct', 'fault', 'fault', 'fault', 'fault'])
  })
})
