import { parseArgs } from 'node:util'
import { encodeCanonical } from '../../shared/src/hashing/canonical.ts'
import { toBase64Url } from '../../shared/src/hashing/digest.ts'
import { bundleLayout, jobNoise, type RunTerms } from '../../shared/src/machine/index.ts'
import { type SamplerSettings, samplerSettings } from '../../shared/src/protocol/sampler.ts'
import { type Lua, loadInAos, loadInPlainLua } from '../support/lua-hosts.ts'
import { manifestOf } from '../support/machine/random-model.ts'
import { type SyntheticStep, syntheticStep } from '../support/machine/synthetic-step.ts'

/**
 * What one verdict costs, for every operation of a model of seven billion weights: processor time in aos from the base64
 * of a message to the verdict, the same in plain Lua, and the bytes that the message carries.
 */
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

const { values } = parseArgs({
  options: { json: { type: 'boolean', default: false }, repeat: { type: 'string', default: '5' } },
})
const repeat = Number(values.repeat)

const stop = ['\n\n', 'END']
const layout = bundleLayout(MODEL)
const termsOf = (changed: Partial<SamplerSettings> = {}): RunTerms => {
  const sampler = samplerSettings.parse({
    temperature: 60_000,
    topK: 40,
    topP: 60_000,
    repeatPenalty: 80_000,
    seed: 7,
    ...changed,
  })
  return {
    manifest: MODEL,
    layout,
    promptLength: PROMPT_LENGTH,
    sampler,
    noise: jobNoise(JOB, sampler.seed),
    maxTokens: COUNT,
    stop: stop.map(text => new Uint8Array(Buffer.from(text))),
  }
}

const text = (bytes: Uint8Array) => Buffer.from(bytes).toString('base64')
const SETUP = `
  referee, encoding = require('apus.referee'), require('apus.encoding')
  manifest = require('apus.machine-manifest').read(encoding.fromBase64('${text(encodeCanonical(MODEL))}'))
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
function stepCode(stage: number, { sampler }: RunTerms, s: SyntheticStep): string {
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
      : `{ leaves = { [${leaf + 1}] = require('apus.merkle').leaf('apus.machine.1/value', ${result}) } }`
  const items = itemsOf(s).map(item => `{ leaf = '${item.leaf}', path = '${item.path}' }`)
  return `
    chunk, items = ${s.chunk}, { ${items.join(', ')} }
    step = { model = { manifest = manifest }, position = ${POSITION}, stage = ${stage}, operation = ${s.index},
      stages = cut('${text(Buffer.concat(s.stages))}'), operations = cut('${text(Buffer.concat(s.operations))}'),
      job = { id = '${JOB}', model = '${toBase64Url(s.bundleRoot)}', sampler = { ${settings.join(', ')} },
        stop = { '\\n\\n', 'END' }, maxTokens = ${COUNT}, promptTokens = '${s.promptRoot}',
        promptLength = ${PROMPT_LENGTH} },
      statement = { count = ${COUNT}, checkpointRoot = '${toBase64Url(s.checkpointRoot)}',
        kvRoot = '${toBase64Url(s.kvRoot)}', answerRoot = '${toBase64Url(s.answerRoot)}' },
      answer = ${answer} }`
}

const JUDGE = 'verdict = referee.verdict(step, { chunk = chunk, inputs = read(items) })'

/** Least processor time of several evaluations that judge, less the least of those that do not. */
async function inAos(lua: Lua, setup: string): Promise<{ verdict: string; ms: number }> {
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

async function inPlainLua(lua: Lua, setup: string): Promise<number> {
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

const modules = ['referee', 'machine-manifest']
const aos = await loadInAos(modules)
const plain = await loadInPlainLua(modules)
await aos.run(`${SETUP}\nreturn ''`)

interface Figures {
  readonly operation: string
  readonly chunk: number
  readonly aosMs: number
  readonly luaMs: number | undefined
  readonly witnessBytes: number
  readonly messageBytes: number
}

const shapes: Figures[] = []
for (const [stage, name, chunk, sampler] of STEPS) {
  const terms = termsOf(sampler)
  const step = syntheticStep(terms, COUNT, POSITION, stage, name, chunk, 5)
  const setup = stepCode(stage, terms, step)
  const { verdict, ms } = await inAos(aos, setup)
  if (verdict !== (CHECKS.has(name) ? 'fault' : 'correct'))
    throw new Error(`The verdict on ${name} is ${verdict}.`)
  shapes.push({
    operation: sampler ? `${name}, no thresholds` : name,
    chunk,
    aosMs: Math.round(ms * 10) / 10,
    luaMs: plain ? await inPlainLua(plain, setup) : undefined,
    witnessBytes: step.inputs.reduce((sum, { leaf, path }) => sum + leaf.length + 32 * path.length, 0),
    messageBytes: JSON.stringify({ inputs: itemsOf(step) }).length,
  })
}

const most = (of: (shape: Figures) => number | undefined) => Math.max(...shapes.map(s => of(s) ?? 0))
console.log(
  `Verdicts on one chunk of a model with ${MODEL.width} columns, ${MODEL.hidden} and ${MODEL.vocab} rows, two`,
)
console.log(
  `planes, at position ${POSITION}; least processor time of ${repeat}, from the base64 of the message on`,
)
console.table(shapes)
const figures = {
  refereeMsAos: most(s => s.aosMs),
  refereeMsLua: plain ? most(s => s.luaMs) : undefined,
  witnessBytesLargest: most(s => s.witnessBytes),
  messageBytesLargest: most(s => s.messageBytes),
}
console.table(figures)
if (values.json) console.log(JSON.stringify({ ...figures, shapes }))
