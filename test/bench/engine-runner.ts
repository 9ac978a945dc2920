import { getLlama, type Token } from 'node-llama-cpp'
import { CpuMachine } from '../../node/src/engine/cpu/cpu-machine.ts'
import { BundleFile } from '../../node/src/models/store/bundle-file.ts'
import { decodeCanonical, encodeCanonical } from '../../shared/src/hashing/canonical.ts'
import { decodeManifest } from '../../shared/src/machine/index.ts'
import { seededRandom } from '../support/random.ts'

export type RunnerKind = 'ours' | 'ours without commitments' | 'llama.cpp'

/** What a runner is started with, as JSON in its first argument. */
export interface RunnerOrder {
  readonly kind: RunnerKind
  readonly path: string
  /** Prompt tokens of the prefill measurement. */
  readonly prompt: number
  /** Tokens of the decode measurement. */
  readonly tokens: number
}

/** Tokens per second, and memory. */
export interface Measured {
  readonly decode: number
  readonly prefill: number
  /** Decoding until the result is complete. */
  readonly whole: number
  readonly peakMb: number
}

type Measure = () => Promise<Omit<Measured, 'peakMb'>>

/** Prompt of the decode measurement: short, so that the tokens decoded are what is measured. */
const SHORT_PROMPT = 8

const { kind, path, prompt, tokens } = JSON.parse(process.argv[2] ?? '') as RunnerOrder
const measure = kind === 'llama.cpp' ? await llamaCpp() : await ours(kind === 'ours')
process.on('message', async () => {
  const figures = await measure()
  process.send?.({ ...figures, peakMb: process.resourceUsage().maxRSS / 1024 } satisfies Measured)
})
process.send?.('ready')

function promptOf(length: number, vocabulary: number): number[] {
  const random = seededRandom(length)
  return Array.from({ length }, () => 300 + random.below(vocabulary - 300))
}

const perSecond = (count: number, from: number): number => (count * 1000) / (performance.now() - from)

async function ours(commits: boolean): Promise<Measure> {
  const bundle = await BundleFile.open(path)
  const [manifest] = await bundle.leaves(0)
  const { vocab } = decodeManifest(manifest as Uint8Array)
  // Without stop tokens, so that as many tokens are decoded as are asked for.
  async function* endless() {
    for await (const [index, leaf] of bundle.checkedLeaves()) {
      const own = index === 0 ? encodeCanonical({ ...(decodeCanonical(leaf) as object), stop: [] }) : leaf
      yield [index, own] as const
    }
  }
  const machine = await CpuMachine.load(endless(), { threads: 1, cacheBytes: 2 ** 26, commits })
  await bundle.close()
  const sampler = {
    temperature: 0,
    topK: 0,
    topP: 65_536,
    repeatPenalty: 65_536,
    frequencyPenalty: 0,
    presencePenalty: 0,
    penaltyWindow: 0,
    seed: 0,
  } as const
  const run = (length: number, maxTokens: number, onToken: (index: number) => void) =>
    machine.run(
      { prompt: promptOf(length, vocab), sampler, noise: [0, 0], maxTokens, stop: [] },
      new AbortController().signal,
      (_, index) => onToken(index),
    )
  return async () => {
    let from = 0
    let decode = 0
    await run(SHORT_PROMPT, tokens + 1, index => {
      if (index === 0) from = performance.now()
      if (index === tokens) decode = perSecond(tokens, from)
    })
    const whole = perSecond(tokens, from)
    const began = performance.now()
    let prefill = 0
    await run(prompt, 1, () => {
      prefill = perSecond(prompt, began)
    })
    return { decode, prefill, whole }
  }
}

async function llamaCpp(): Promise<Measure> {
  const llama = await getLlama({ build: 'never', skipDownload: true, gpu: false, maxThreads: 0 })
  const model = await llama.loadModel({ modelPath: path, gpuLayers: 0 })
  const context = await model.createContext({
    sequences: 1,
    contextSize: Math.max(prompt, SHORT_PROMPT + tokens) + 8,
    batchSize: 512,
    threads: 1,
    flashAttention: false,
  })
  const sequence = context.getSequence()
  const vocab = model.fileInfo.metadata.tokenizer.ggml.tokens.length
  const evaluate = async (length: number, count: number): Promise<[first: number, last: number]> => {
    await sequence.clearHistory()
    let first = 0
    let n = 0
    const all = promptOf(length, vocab) as Token[]
    for await (const _ of sequence.evaluate(all, { temperature: 0, yieldEogToken: true })) {
      if (n++ === 0) first = performance.now()
      if (n === count) return [first, performance.now()]
    }
    throw new Error('llama.cpp ended early')
  }
  return async () => {
    const [first, last] = await evaluate(SHORT_PROMPT, tokens + 1)
    const decode = (tokens * 1000) / (last - first)
    const began = performance.now()
    const [done] = await evaluate(prompt, 1)
    return { decode, prefill: (prompt * 1000) / (done - began), whole: decode }
  }
}
