import { readFileSync } from 'node:fs'
import type { FileHandle } from 'node:fs/promises'
import { parseArgs } from 'node:util'
import { createTokenizer, ggufVocabulary } from '@apus/shared/tokenizer'
import { type Gguf, withGguf } from '../../node/src/models/gguf/read-gguf.ts'
import { bundleManifest, DEFAULT_PLANES, type Planes } from '../../node/src/models/import/bundle-manifest.ts'
import { bundleSections } from '../../node/src/models/import/bundle-sections.ts'
import { linearSources } from '../../node/src/models/import/linear-source.ts'
import { chooseFormats, type NumberFormats } from '../../node/src/models/import/number-formats.ts'
import { probeMagnitudes } from '../../node/src/models/import/probe.ts'
import { ropeFactors, ropeFrequencies } from '../../node/src/models/import/rope-frequencies.ts'
import { sourceModel } from '../../node/src/models/import/source-model.ts'
import { Model } from '../../shared/src/machine/model.ts'
import { Sequence } from '../../shared/src/machine/sequence.ts'
import { EMBEDDED_F16, EMBEDDED_Q8 } from '../support/embedded-model.ts'
import { best, cosineOf, llamaLogits } from '../support/llama-logits.ts'
import { FloatModel } from '../support/machine/float-model.ts'
import { MemoryBundle } from '../support/machine/random-model.ts'

/** The machine and llama.cpp against float64 on the same tokens: how far their next-token distributions lie apart. */
const { values } = parseArgs({
  options: {
    json: { type: 'boolean', default: false },
    /** Every how-manieth of the known questions is asked. */
    every: { type: 'string', default: '600' },
  },
})
const MODELS = new URL('../../shared/models/', import.meta.url)
const MAX_ANSWER = 48
/** Tokens of a piece of prose: what the model was trained on has at most 128. */
const PROSE_TOKENS = 120
const PROSE_PIECES = 3

type Logits = readonly number[] | Float64Array
/** Logits after each token of a sequence. */
type Runner = (tokens: readonly number[]) => Promise<Logits[]>

interface Text {
  readonly kind: 'answers' | 'prose'
  readonly tokens: readonly number[]
  /** Predictions before this index are of the question and do not count. */
  readonly from: number
}

interface Row {
  readonly engine: string
  readonly text: Text['kind']
  readonly tokens: number
  readonly nll: number
  readonly kl: number
  readonly top1: number
  readonly cosine: number
  readonly maxDifference: number
}

const ONE: Planes = { qkv: 1, o: 1, gateUp: 1, down: 1, output: 1 }
/** Which inputs have a second plane, cheapest first. */
const PLANES: readonly (readonly [name: string, planes: Planes])[] = [
  ['1 plane', ONE],
  ['2 in down', { ...ONE, down: 2 }],
  ['2 in o, down', { ...ONE, o: 2, down: 2 }],
  ['2 in o, down, output', { ...ONE, o: 2, down: 2, output: 2 }],
  ['2 in qkv, o, down: the default', DEFAULT_PLANES],
  ['2 everywhere', { qkv: 2, o: 2, gateUp: 2, down: 2, output: 2 }],
]

await withGguf(EMBEDDED_F16, async (gguf, file) => {
  const float = await FloatModel.load(file, sourceModel(gguf))
  const texts = textsOf(gguf, float)
  const expected = texts.map(({ tokens }) => {
    float.restart()
    return tokens.map(token => float.feed(token))
  })
  const rows: Row[] = []
  const compare = async (engine: string, run: Runner) => {
    const got: Logits[][] = []
    for (const { tokens } of texts) got.push(await run(tokens))
    process.stderr.write(`${engine}: done\n`)
    for (const kind of ['answers', 'prose'] as const) rows.push(compared(engine, kind, texts, expected, got))
  }
  await compare('float64', async tokens => {
    float.restart()
    return tokens.map(token => float.feed(token))
  })
  const chosen = await formatsOf(gguf, file)
  for (const [name, p] of PLANES) await compare(`machine, ${name}`, await machine(gguf, file, p, chosen))
  for (const residual of [16, 14, 12])
    await compare(
      `default, residual Q${residual}`,
      await machine(gguf, file, DEFAULT_PLANES, { ...chosen, residual }),
    )
  await withGguf(EMBEDDED_Q8, async (q8, q8File) => {
    const formats = await formatsOf(q8, q8File)
    await compare('default, from Q8_0', await machine(q8, q8File, DEFAULT_PLANES, formats))
  })
  for (const [name, path] of [
    ['F16', EMBEDDED_F16],
    ['Q8_0', EMBEDDED_Q8],
  ] as const) {
    const { run, dispose } = await llamaLogits(path)
    await compare(`llama.cpp ${name}`, run)
    await dispose()
  }

  const ranges = float.ranges.map((range, layer) => ({
    layer,
    ...Object.fromEntries(Object.entries(range).map(([kind, value]) => [kind, Number(value.toFixed(2))])),
  }))
  if (values.json) return console.log(JSON.stringify({ formats: chosen, rows, ranges }))
  console.log(markdown(rows))
  console.log(`\nFormats: ${JSON.stringify(chosen)}. Greatest magnitudes in float64:\n`)
  for (const range of ranges) console.log(JSON.stringify(range))
})

/** A row an engine; what was predicted is counted in the heading. */
function markdown(rows: readonly Row[]): string {
  const kinds = ['answers', 'prose'] as const
  const count = (kind: Text['kind']): number => rows.find(({ text }) => text === kind)?.tokens ?? 0
  const line = (cells: readonly (string | number)[]): string => `| ${cells.join(' | ')} |`
  const heads = kinds.flatMap(kind => [`${kind} (${count(kind)}): NLL`, 'KL', 'top-1', 'cosine'])
  const engines = [...new Set(rows.map(({ engine }) => engine))]
  return [
    line(['engine', ...heads]),
    line(['engine', ...heads].map(() => '---')),
    ...engines.map(engine =>
      line([
        engine,
        ...kinds.flatMap(kind => {
          const row = rows.find(one => one.engine === engine && one.text === kind)
          return row
            ? [row.nll.toFixed(5), row.kl.toPrecision(3), row.top1.toFixed(3), row.cosine.toFixed(5)]
            : []
        }),
      ]),
    ),
  ].join('\n')
}

/** Greedy answers of the float64 model to known questions, and prose that it was never trained on. */
function textsOf(gguf: Gguf, float: FloatModel): Text[] {
  const vocabulary = ggufVocabulary(gguf.metadata)
  const tokenizer = createTokenizer(vocabulary)
  const questions = readFileSync(new URL('known_questions.txt', MODELS), 'utf8').trim().split('\n')
  const answers = questions
    .filter((_, i) => i % Number(values.every) === 0)
    .map((question): Text => {
      const tokens = [...tokenizer.encodePrompt(`Q: ${question}\nA:`)]
      const from = tokens.length - 1
      float.restart()
      let logits = tokens.map(token => float.feed(token)).at(-1)!
      for (let n = 0; n < MAX_ANSWER; n++) {
        const token = best(logits)
        tokens.push(token)
        if (vocabulary.ends.includes(token)) break
        logits = float.feed(token)
      }
      return { kind: 'answers', tokens, from }
    })
  const licence = tokenizer.encodePrompt(readFileSync(new URL('LICENSE-WordNet.txt', MODELS), 'utf8'))
  const prose = Array.from({ length: PROSE_PIECES }, (_, i): Text => {
    const piece = licence.slice(1 + i * PROSE_TOKENS, 1 + (i + 1) * PROSE_TOKENS)
    return { kind: 'prose', tokens: [licence[0]!, ...piece], from: 0 }
  }).filter(({ tokens }) => tokens.length > 1)
  return [...answers, ...prose]
}

async function formatsOf(gguf: Gguf, file: FileHandle): Promise<NumberFormats> {
  const model = sourceModel(gguf)
  const frequencies = ropeFrequencies(model.headSize, model.ropeBase, await ropeFactors(file, model))
  const probe = createTokenizer(ggufVocabulary(gguf.metadata)).encodePrompt('In 1969, "the river" rose.')
  return chooseFormats(await probeMagnitudes(file, model, linearSources(model), frequencies, probe, () => {}))
}

async function machine(gguf: Gguf, file: FileHandle, p: Planes, formats: NumberFormats): Promise<Runner> {
  const model = sourceModel(gguf)
  const leaves: Uint8Array[] = []
  const sections = bundleSections({
    file,
    model,
    manifest: bundleManifest(model, [], formats, p, 0),
    sources: linearSources(model),
    frequencies: ropeFrequencies(model.headSize, model.ropeBase, await ropeFactors(file, model)),
    formats,
    pieces: Array.from({ length: model.vocabulary }, () => new Uint8Array()),
    tokenizerSection: new Uint8Array(),
  })
  for (const section of sections) for await (const leaf of section.leaves()) leaves.push(leaf)
  const decoded = new Model(new MemoryBundle(leaves))
  return async tokens => {
    const sequence = new Sequence(decoded)
    return tokens.map(token =>
      Float64Array.from(sequence.logits(sequence.feed(token, true)!), l => l / 65_536),
    )
  }
}

function compared(
  engine: string,
  kind: Text['kind'],
  texts: readonly Text[],
  expected: readonly Logits[][],
  got: readonly Logits[][],
): Row {
  let [tokens, nll, kl, top1, cosine, maxDifference] = [0, 0, 0, 0, 0, 0]
  for (const [t, text] of texts.entries()) {
    if (text.kind !== kind) continue
    for (let i = text.from; i + 1 < text.tokens.length; i++) {
      const [p, q] = [expected[t]![i]!, got[t]![i]!]
      const [logP, logQ] = [logSoftmax(p), logSoftmax(q)]
      tokens++
      nll -= logQ[text.tokens[i + 1]!]!
      kl += logP.reduce((total, l, v) => total + Math.exp(l) * (l - logQ[v]!), 0)
      top1 += best(p) === best(q) ? 1 : 0
      cosine += cosineOf(p, q)
      for (let v = 0; v < p.length; v++) maxDifference = Math.max(maxDifference, Math.abs(p[v]! - q[v]!))
    }
  }
  const round = (n: number) => Number(n.toPrecision(6))
  return {
    engine,
    text: kind,
    tokens,
    nll: round(nll / tokens),
    kl: round(kl / tokens),
    top1: round(top1 / tokens),
    cosine: round(cosine / tokens),
    maxDifference: round(maxDifference),
  }
}

function logSoftmax(logits: Logits): Float64Array {
  let [top, total] = [Number.NEGATIVE_INFINITY, 0]
  for (const l of logits) top = Math.max(top, l)
  for (const l of logits) total += Math.exp(l - top)
  return Float64Array.from(logits, l => l - top - Math.log(total))
}
