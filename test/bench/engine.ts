import { existsSync } from 'node:fs'
import { mkdir, rename, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { parseArgs } from 'node:util'
import { withGguf } from '../../node/src/models/gguf/read-gguf.ts'
import { DEFAULT_PLANES } from '../../node/src/models/import/bundle-manifest.ts'
import { importGguf } from '../../node/src/models/import/import-gguf.ts'
import { EMBEDDED_Q8 } from '../support/embedded-model.ts'
import type { OverheadTurn } from './engine-run-overhead.ts'
import { Runner, type RunnerOrder, type Turn } from './engine-turns.ts'
import { seededGguf } from './seeded-gguf.ts'

/** Our CPU machine beside llama.cpp on the same file, one thread each, in turns; the best of all turns counts. */
const { values } = parseArgs({
  options: {
    json: { type: 'boolean', default: false },
    turns: { type: 'string', default: '12' },
    /** Only the model committed with the project. */
    small: { type: 'boolean', default: false },
  },
})
const turns = Number(values.turns)

/** Outside git; made once. */
const CACHE = fileURLToPath(new URL('../../.cache/bench/', import.meta.url))
const SEED = 20_261_121

interface Case {
  readonly name: string
  readonly gguf: string
  readonly order: Omit<RunnerOrder, 'path'>
}

const cases: Case[] = [
  { name: 'embedded 2.8M', gguf: EMBEDDED_Q8, order: { prompt: 96, tokens: 150, row: 25 } },
]
if (!values.small) {
  cases.push({
    name: 'seeded random 101M',
    gguf: await randomGguf(),
    order: { prompt: 128, tokens: 24, row: 6 },
  })
}

const models = []
for (const one of cases) models.push(await compare(one))
const checkpointOverhead = Math.max(...models.map(model => model.checkpointOverhead))

if (!values.json) {
  console.log('One thread; tokens per second; the memory is that of the whole process.')
  console.table(
    models.map(model => ({
      model: model.name,
      'decode: ours': model.ours.decode,
      'llama.cpp': model.llamacpp.decode,
      ratio: model.ratio,
      'ratio of processor time': model.cpuRatio,
      'prefill: ours': model.ours.prefill,
      'llama.cpp ': model.llamacpp.prefill,
      'peak MB: ours': model.ours.peakMb,
      ' llama.cpp': model.llamacpp.peakMb,
      'checkpoints cost': `${round(model.checkpointOverhead * 100, 1)} %`,
    })),
  )
}
console.log(JSON.stringify({ models, checkpointOverhead }))

async function compare({ name, gguf, order }: Case) {
  const bundle = join(CACHE, await importGguf(gguf, CACHE, { planes: DEFAULT_PLANES }))
  const ours = await Runner.start<Turn>('./engine-run-ours.ts', { ...order, path: bundle })
  const theirs = await Runner.start<Turn>('./engine-run-llama-cpp.ts', { ...order, path: gguf })
  const hashes = await Runner.start<OverheadTurn>('./engine-run-overhead.ts', { ...order, path: bundle })
  const mine: Turn[] = []
  const other: Turn[] = []
  const cost: OverheadTurn[] = []
  for (let turn = 0; turn < turns; turn++) {
    mine.push(await ours.turn())
    other.push(await theirs.turn())
    cost.push(await hashes.turn())
  }
  for (const runner of [ours, theirs, hashes]) runner.end()
  const a = best(mine)
  const b = best(other)
  // In processor time, as if hashing had no processor of its own: more than what it costs in time.
  const commitMs = Math.min(...cost.map(c => c.commitMs))
  const tokenMs = Math.min(...cost.map(c => c.tokenMs))
  return {
    name,
    params: await parameters(gguf),
    ours: shown(a),
    llamacpp: shown(b),
    ratio: round(a.decode / b.decode, 2),
    cpuRatio: round(b.cpuMs / a.cpuMs, 2),
    checkpointOverhead: round(commitMs / tokenMs, 4),
  }
}

function best(all: readonly Turn[]): Turn {
  return {
    decode: Math.max(...all.map(m => m.decode)),
    prefill: Math.max(...all.map(m => m.prefill)),
    cpuMs: Math.min(...all.map(m => m.cpuMs)),
    peakMb: Math.max(...all.map(m => m.peakMb)),
  }
}

function round(value: number, digits: number): number {
  return Math.round(value * 10 ** digits) / 10 ** digits
}

function shown({ decode, prefill, peakMb }: Turn) {
  return { decode: round(decode, 1), prefill: round(prefill, 1), peakMb: Math.round(peakMb) }
}

function parameters(path: string): Promise<number> {
  return withGguf(path, async ({ tensors }) =>
    [...tensors.values()].reduce((sum, { shape }) => sum + shape.reduce((a, b) => a * b, 1), 0),
  )
}

async function randomGguf(): Promise<string> {
  const path = join(CACHE, `random-101m-${SEED}.q8_0.gguf`)
  if (existsSync(path)) return path
  await mkdir(CACHE, { recursive: true })
  await writeFile(`${path}.part`, seededGguf(SEED))
  await rename(`${path}.part`, path)
  return path
}
