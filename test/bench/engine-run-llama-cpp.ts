import { getLlama, type Token } from 'node-llama-cpp'
import { promptOf, type RunnerOrder, SHORT_PROMPT, Stopwatch, type Turn, takeTurns } from './engine-turns.ts'

const { path, prompt, tokens, row } = JSON.parse(process.argv[2] ?? '') as RunnerOrder
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
const vocabulary = model.fileInfo.metadata.tokenizer.ggml.tokens.length

async function evaluate(length: number, count: number): Promise<Stopwatch> {
  const watch = new Stopwatch(Math.min(row, count - 1))
  await sequence.clearHistory()
  const tokens = promptOf(length, vocabulary) as Token[]
  let n = 0
  for await (const _ of sequence.evaluate(tokens, { temperature: 0, yieldEogToken: true })) {
    watch.token()
    if (++n === count) return watch
  }
  throw new Error('llama.cpp ended early')
}

takeTurns(async (): Promise<Turn> => {
  const { fastest, cpuMs } = await evaluate(SHORT_PROMPT, tokens + 1)
  const began = performance.now()
  const { firstAt } = await evaluate(prompt, 1)
  return {
    decode: fastest,
    prefill: (prompt * 1000) / (firstAt - began),
    cpuMs,
    peakMb: process.resourceUsage().maxRSS / 1024,
  }
})
