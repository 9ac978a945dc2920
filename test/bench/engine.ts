import { type ChildProcess, fork } from 'node:child_process'
import { existsSync } from 'node:fs'
import { mkdir, rename, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { parseArgs } from 'node:util'
import { withGguf } from '../../node/src/models/gguf/read-gguf.ts'
import { DEFAULT_PLANES } from '../../node/src/models/import/bundle-manifest.ts'
import { importGguf } from '../../node/src/models/import/import-gguf.ts'
import type { Measured, RunnerKind, RunnerOrder } from './engine-runner.ts'
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
const CACHE = new URL('../../.cache/bench/', import.meta.url).pathname
const EMBEDDED = new URL('../../shared/models/apus-dictionary-2.8m.q8_0.gguf', import.meta.url).pathname
const SEED = 20_261_121

interface Case {
  readonly name: string
  readonly gguf: string
  readonly order: Omit<RunnerOrder, 'kind' | 'path'>
}

const cases: Case[] = [
  { name: 'embedded 2.8M', gguf: EMBEDDED, order: { prompt: 96, tokens: 150 } },
  ...(values.small
    ? []
    : [{ name: 'seeded random 101M', gguf: await randomGguf(), order: { prompt: 128, tokens: 24 } }]),
]

const models = []
let checkpointOverhead = 0
for (const { name, gguf, order } of cases) {
  const bundle = join(CACHE, await importGguf(gguf, CACHE, { planes: DEFAULT_PLANES }))
  const ours = await start({ ...order, kind: 'ours', path: bundle })
  const bare = await start({ ...order, kind: 'ours without commitments', path: bundle })
  const theirs = await start({ ...order, kind: 'llama.cpp', path: gguf })
  const results: Record<RunnerKind, Measured[]> = {
    ours: [],
    'ours without commitments': [],
    'llama.cpp': [],
  }
  for (let turn = 0; turn < turns; turn++) {
    for (const runner of turn % 2 === 0 ? [ours, bare, theirs] : [theirs, bare, ours]) {
      results[runner.kind].push(await runner.measure())
    }
  }
  for (const { child } of [ours, bare, theirs]) child.kill()
  const mine = best(results.ours)
  const other = best(results['llama.cpp'])
  // The whole run, to the last page's digest, beside the same run that hashes nothing.
  const overhead = Math.min(1, Math.max(0, best(results['ours without commitments']).whole / mine.whole - 1))
  checkpointOverhead = Math.max(checkpointOverhead, overhead)
  models.push({
    name,
    params: await parameters(gguf),
    ours: shown(mine),
    llamacpp: shown(other),
    ratio: round(mine.decode / other.decode, 2),
    checkpointOverhead: round(overhead, 4),
  })
}

if (!values.json) {
  console.log('one thread, tokens per second; peak memory in MB of the whole process')
  console.table(
    models.map(({ name, ours, llamacpp, ratio, checkpointOverhead: o }) => ({
      model: name,
      'decode ours': ours.decode,
      'decode llama.cpp': llamacpp.decode,
      ratio,
      'prefill ours': ours.prefill,
      'prefill llama.cpp': llamacpp.prefill,
      'MB ours': ours.peakMb,
      'MB llama.cpp': llamacpp.peakMb,
      'checkpoint overhead': `${round(o * 100, 1)} %`,
    })),
  )
}
console.log(JSON.stringify({ models, checkpointOverhead: round(checkpointOverhead, 4) }))

interface Runner {
  readonly kind: RunnerKind
  readonly child: ChildProcess
  measure(): Promise<Measured>
}

async function start(order: RunnerOrder): Promise<Runner> {
  const child = fork(new URL('./engine-runner.ts', import.meta.url), [JSON.stringify(order)], {
    stdio: ['ignore', 'ignore', 'inherit', 'ipc'],
  })
  await heard(child)
  return {
    kind: order.kind,
    child,
    async measure() {
      child.send('measure')
      return (await heard(child)) as Measured
    },
  }
}

/** The child's next message. Errors when it ends first. */
function heard(child: ChildProcess): Promise<unknown> {
  return new Promise((resolve, reject) => {
    const ended = (code: number | null): void => {
      child.off('message', spoke)
      reject(new Error(`a runner ended with ${code}`))
    }
    const spoke = (message: unknown): void => {
      child.off('exit', ended)
      resolve(message)
    }
    child.once('message', spoke).once('exit', ended)
  })
}

function best(all: readonly Measured[]): Measured {
  return {
    decode: Math.max(...all.map(m => m.decode)),
    prefill: Math.max(...all.map(m => m.prefill)),
    whole: Math.max(...all.map(m => m.whole)),
    peakMb: Math.max(...all.map(m => m.peakMb)),
  }
}

function round(value: number, digits: number): number {
  return Math.round(value * 10 ** digits) / 10 ** digits
}

function shown({ decode, prefill, peakMb }: Measured) {
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
