import { encodeCanonical, toBase64Url } from '@apus/shared/hashing'
import { bundleLayout, decodeManifest, jobNoise, type Manifest } from '@apus/shared/machine'
import type { StepProof } from '@apus/shared/proofs'
import { encodeTokens, type SamplerSettings } from '@apus/shared/protocol'
import { firstLevel, shownNodes, showsOperations } from '../../shared/src/dispute/trees.ts'
import { planStage, stageCount } from '../../shared/src/machine/plan.ts'
import type { RunTerms } from '../../shared/src/machine/plan-parts.ts'
import { LEVEL_STEP } from '../../shared/src/protocol/dispute.ts'
import { samplerSettings } from '../../shared/src/protocol/sampler.ts'
import { type Lua, loadInAos, loadInPlainLua } from '../support/lua-modules.ts'
import { manifestOf } from '../support/machine/random-model.ts'
import { type SyntheticStep, syntheticStep } from '../support/machine/synthetic-step.ts'

const MODEL = manifestOf({
  name: '7B',
  layers: 32,
  width: 4096,
  heads: 32,
  kvHeads: 32,
  headSize: 128,
  hidden: 11_008,
  vocab: 128_256,
  context: 4096,
  tied: false,
  planes: { qkv: 2, o: 2, gateUp: 2, down: 2, output: 2 },
  tokenizerBytes: 2_000_000,
})
const JOB = 'job'.padEnd(43, '_')
const PROMPT_LENGTH = 3000
const POSITION = MODEL.context - 1
const COUNT = MODEL.context + 1 - PROMPT_LENGTH
const LAYER = 2
const HEAD = MODEL.layers + 1
/** The fourth is what the sampler has otherwise: without thresholds every token of a tile is drawn. */
const STEPS: readonly (readonly [
  stage: number,
  name: string,
  chunk: number,
  sampler?: Partial<SamplerSettings>,
])[] = [
  [0, 'embed', 3],
  [LAYER, 'n1.part', 3],
  [LAYER, 'n1.scale', 0],
  [LAYER, 'n1.quant', 3],
  [LAYER, 'qkv.1', 77],
  [LAYER, 'rows', 40],
  [LAYER, 'link', 33],
  [LAYER, 'page.0.1', 500],
  [LAYER, 'group.1', 9],
  [LAYER, 'out', 30],
  [LAYER, 'out.quant', 2],
  [LAYER, 'o', 900],
  [LAYER, 'gate_up.2', 1000],
  [LAYER, 'act', 5],
  [LAYER, 'down.part.0', 2000],
  [LAYER, 'down.part.1', 2000],
  [LAYER, 'down', 2],
  [HEAD, 'logits.15', 100],
  [HEAD, 'scores.15', 3],
  [HEAD, 'max.tile', 100],
  [HEAD, 'max', 0],
  [HEAD, 'topk.count', 9],
  [HEAD, 'topk.check', 0],
  [HEAD, 'topp.mass', 9],
  [HEAD, 'topp.before', 9],
  [HEAD, 'topp.check', 0],
  [HEAD, 'pick.tile', 9],
  [HEAD, 'pick.tile', 9, { topK: 0, topP: 65_536 }],
  [HEAD, 'pick', 0],
  [HEAD, 'stop', 0],
]
/** Links and checks of random values hold by accident at best: the machine allows them no output. */
const CHECKS = new Set(['link', 'topk.check', 'topp.check'])

/** Where a disputed step lies. */
interface Place {
  readonly position: number
  /** Chosen tokens. */
  readonly count: number
  readonly stage: number
}

const stop = ['\n\n', 'END']
const termsOf = (
  manifest: Manifest,
  promptLength: number,
  maxTokens: number,
  changed: Partial<SamplerSettings> = {},
): RunTerms => {
  const sampler = samplerSettings.parse({
    temperature: 60_000,
    topK: 40,
    topP: 60_000,
    repeatPenalty: 80_000,
    seed: 7,
    ...changed,
  })
  return {
    manifest,
    layout: bundleLayout(manifest),
    promptLength,
    sampler,
    noise: jobNoise(JOB, sampler.seed),
    maxTokens,
    stop: stop.map(text => new Uint8Array(Buffer.from(text))),
  }
}

const text = (bytes: Uint8Array) => Buffer.from(bytes).toString('base64')
const SETUP = `
  referee, encoding = require('apus.referee.referee'), require('apus.codec.encoding')
  cut = function(text)
    local list, bytes = {}, encoding.fromBase64(text)
    for at = 1, #bytes, 32 do list[#list + 1] = bytes:sub(at, at + 31) end
    return list
  end
  read = function(items)
    local inputs = {}
    for i, item in ipairs(items) do inputs[i] = { leaf = encoding.fromBase64(item.leaf), path = cut(item.path) } end
    return inputs
  end`

const itemsOf = ({ inputs }: SyntheticStep) =>
  inputs.map(({ leaf, path }) => ({ leaf: text(leaf), path: text(Buffer.concat(path)) }))

/** Lua that makes `step`, `chunk` and `items`. The answer is told by its place only: all else of it is never looked at. */
function stepCode({ position, count, stage }: Place, terms: RunTerms, s: SyntheticStep): string {
  const { sampler, promptLength, manifest } = terms
  const settings = Object.entries(sampler).map(([name, value]) => `${name} = ${value}`)
  const { leaf, length, from } = s.operation.chunk(s.chunk)
  const result = `encoding.fromBase64('${text(s.result)}')`
  const before = Array.from({ length: leaf }, (_, i) => s.operation.leafBytes(i)).reduce(
    (a, b) => a + b,
    from,
  )
  const answer =
    length < s.operation.leafBytes(leaf)
      ? `{ values = ('\\0'):rep(${before}) .. ${result} }`
      : `{ leaves = { [${leaf + 1}] = require('apus.codec.merkle').leaf('apus.machine.1/value', ${result}) } }`
  const items = itemsOf(s).map(item => `{ leaf = '${item.leaf}', path = '${item.path}' }`)
  return `
    manifest = require('apus.machine.manifest').read(encoding.fromBase64('${text(encodeCanonical(manifest))}'))
    chunk, items = ${s.chunk}, { ${items.join(', ')} }
    step = { model = { manifest = manifest }, position = ${position}, stage = ${stage}, operation = ${s.index},
      stages = cut('${text(Buffer.concat(s.stages))}'), operations = cut('${text(Buffer.concat(s.operations))}'),
      job = { id = '${JOB}', model = '${toBase64Url(s.bundleRoot)}', sampler = { ${settings.join(', ')} },
        stop = { '\\n\\n', 'END' }, maxTokens = ${count}, promptTokens = '${s.promptRoot}',
        promptLength = ${promptLength} },
      tokens = encoding.fromBase64('${text(encodeTokens(s.chosen))}'),
      statement = { count = ${count}, kvRoot = '${toBase64Url(s.kvRoot)}', answerRoot = '${toBase64Url(s.answerRoot)}' },
      answer = ${answer} }`
}

const JUDGE = 'verdict = referee.verdict(step, { chunk = chunk, inputs = read(items) })'

/** Least processor time of several evaluations that judge, less the least of those that do not. */
async function inAos(lua: Lua, setup: string, repeat: number): Promise<{ verdict: string; ms: number }> {
  await lua.run(`${setup}\nreturn ''`)
  const least = async (code: string) => {
    let best = Number.POSITIVE_INFINITY
    for (let i = 0; i < repeat; i++) {
      const began = process.cpuUsage()
      await lua.run(code)
      const { user, system } = process.cpuUsage(began)
      best = Math.min(best, (user + system) / 1000)
    }
    return best
  }
  const judging = await least(`${JUDGE} return verdict`)
  const nothing = await least("return ''")
  return { verdict: await lua.run('return verdict'), ms: judging - nothing }
}

async function inPlainLua(lua: Lua, setup: string, repeat: number): Promise<number> {
  const said = await lua.run(`${SETUP}\n${setup}
    local best
    for _ = 1, ${repeat} do
      local began = os.clock()
      ${JUDGE}
      local took = os.clock() - began
      if not best or took < best then best = took end
    end
    return string.format('%.3f', best * 1000)`)
  return Number(said)
}

/** What a dispute about one operation costs: messages from the opening to the proof, bytes of their Data, and the verdict. */
export interface Figures {
  readonly shape: string
  readonly operation: string
  readonly messages: number
  readonly bytesTotal: number
  readonly bytesLargest: number
  /** The same when the accused gives its leaves only where the dispute makes it. */
  readonly messagesWithheld: number
  readonly bytesWithheld: number
  /** Processor time in aos and in plain Lua 5.3 from the base64 of the message to the verdict. */
  readonly refereeMsAos: number
  readonly refereeMsLua: number | null
}

const zeros = (length: number) => text(new Uint8Array(length))
const hashes = (count: number) => zeros(count * 32)
const pathOf = (leaves: number) => hashes(Math.ceil(Math.log2(Math.max(1, leaves))))

/** Data of every message of the longest dispute that ends with this step, of the lengths that they have. */
function dispute(
  { position, count, stage }: Place,
  terms: RunTerms,
  s: SyntheticStep,
  withheld: boolean,
): unknown[] {
  const { promptLength, manifest } = terms
  const { layers, kvHeads, headSize } = manifest
  const stages = stageCount(terms, position)
  const operations = Array.from({ length: stages }, (_, n) => planStage(terms, position, n)).flat()
  const advice = operations.filter(operation => operation.advice).length
  const leaf = (bytes: number) => ({ leaf: zeros(bytes), path: pathOf(count) })
  const promptLeaves = Math.ceil(promptLength / 64)
  const pairs = Math.ceil((promptLength + count - 1) / 64) * layers * kvHeads
  const page = zeros(64 * (1 + 2 * headSize))
  const { operation } = s
  const values = Array.from({ length: operation.leaves }, (_, i) => operation.leafBytes(i))
  // Whatever is wrong up to the last layer may have made a row wrong; the head is reached by its checkpoint.
  const byPage = stage <= layers
  return [
    { prompt: { count: promptLeaves, leaf: zeros(256), path: pathOf(promptLeaves) } },
    ...(withheld ? levels(byPage ? 2 * pairs : count) : []),
    ...(byPage ? [{ k: page, v: page, path: pathOf(pairs) }, ''] : []),
    {
      digests: hashes(stages),
      ...(showsOperations(terms, position) ? { operations: hashes(operations.length) } : {}),
      ...(advice ? { advice: zeros(8 * advice) } : {}),
      checkpoint: leaf(41),
      piece: leaf(16),
    },
    '',
    // A link that is said to hold has one value only.
    ...(operation.name === 'link'
      ? []
      : [
          operation.shown === 'values'
            ? { values: zeros(values.reduce((a, b) => a + b, 0)) }
            : { leaves: hashes(operation.leaves) },
        ]),
    { inputs: itemsOf(s) },
  ]
}

/** What is shown of a tree of so many leaves, and picked, level after level. */
function levels(leaves: number): unknown[] {
  const messages: unknown[] = []
  for (let level = firstLevel(leaves); ; level = Math.max(0, level - LEVEL_STEP)) {
    messages.push({ nodes: hashes(shownNodes(leaves, level, 0)) }, '')
    if (level === 0) return messages
  }
}

const size = (data: unknown) => (data === '' ? 0 : JSON.stringify(data).length)
const modules = ['referee.referee', 'machine.manifest']

type Measure = (
  at: Place,
  terms: RunTerms,
  name: string,
  chunk: number,
) => Promise<Omit<Figures, 'shape' | 'operation'>>

/** Measures disputes that end with a chunk of an operation, each verdict the least of `repeat`. */
export async function measuring(repeat: number): Promise<Measure> {
  const aos = await loadInAos(modules)
  const plain = await loadInPlainLua(modules)
  await aos.run(`${SETUP}\nreturn ''`)
  return async (at, terms, name, chunk) => {
    const step = syntheticStep(terms, at.count, at.position, at.stage, name, chunk, 5)
    const setup = stepCode(at, terms, step)
    const { verdict, ms } = await inAos(aos, setup, repeat)
    if (verdict !== (CHECKS.has(name) ? 'fault' : 'correct'))
      throw new Error(`The verdict on ${name} is ${verdict}.`)
    const sizes = dispute(at, terms, step, false).map(size)
    const withheld = dispute(at, terms, step, true).map(size)
    return {
      messages: sizes.length,
      bytesTotal: sizes.reduce((a, b) => a + b, 0),
      bytesLargest: Math.max(...withheld),
      messagesWithheld: withheld.length,
      bytesWithheld: withheld.reduce((a, b) => a + b, 0),
      refereeMsAos: Math.round(ms * 10) / 10,
      refereeMsLua: plain ? await inPlainLua(plain, setup, repeat) : null,
    }
  }
}

/** Every operation of a shape of seven billion weights. */
export async function measureSevenBillion(measure: Measure): Promise<Figures[]> {
  const figures: Figures[] = []
  for (const [stage, name, chunk, sampler] of STEPS) {
    const terms = termsOf(MODEL, PROMPT_LENGTH, COUNT, sampler)
    const operation = sampler ? `${name}, no thresholds` : name
    const at = { position: POSITION, count: COUNT, stage }
    figures.push({ shape: MODEL.name, operation, ...(await measure(at, terms, name, chunk)) })
  }
  return figures
}

/** The verdict on a step of another model that was proven on a network. */
export const measureLike = (measure: Measure, proof: StepProof) => {
  const manifest = decodeManifest(new Uint8Array(Buffer.from(proof.manifest.leaf, 'base64')))
  const { position, stage, operation, chunk, statement: result, job } = proof
  const terms = termsOf(manifest, job.promptLength ?? 1, job.maxTokens, job.sampler)
  const name = planStage(terms, position, stage)[operation]?.name ?? ''
  return measure({ position, stage, count: result.count }, terms, name, chunk)
}
