import { type ControlledEvaluateInputItem, getLlama, LlamaLogLevel, type Token } from 'node-llama-cpp'

let library: ReturnType<typeof getLlama> | undefined

/** A GGUF file in llama.cpp on one CPU thread: the logits after each token of a sequence. */
export async function llamaLogits(path: string): Promise<{
  run(tokens: readonly number[]): Promise<Float64Array[]>
  dispose(): Promise<void>
}> {
  library ??= getLlama({
    build: 'never',
    skipDownload: true,
    gpu: false,
    maxThreads: 0,
    logLevel: LlamaLogLevel.error,
  })
  const model = await (await library).loadModel({ modelPath: path, gpuLayers: 0 })
  const vocab = model.fileInfo.metadata.tokenizer.ggml.tokens.length
  const context = await model.createContext({ contextSize: 256, threads: 1, flashAttention: false })
  const sequence = context.getSequence()
  return {
    async run(tokens) {
      await sequence.clearHistory()
      const results = await sequence.controlledEvaluate(
        (tokens as Token[]).map(
          (token): ControlledEvaluateInputItem => [token, { generateNext: { logits: true } }],
        ),
      )
      return results.map(result => {
        const logits = new Float64Array(vocab)
        for (const [token, logit] of result!.next.logits!) logits[token] = logit
        return logits
      })
    },
    dispose: () => model.dispose(),
  }
}

/** Cosine of the angle between two vectors of logits. */
export function cosineOf(a: ArrayLike<number>, b: ArrayLike<number>): number {
  let [ab, aa, bb] = [0, 0, 0]
  for (let i = 0; i < a.length; i++) {
    ab += a[i]! * b[i]!
    aa += a[i]! * a[i]!
    bb += b[i]! * b[i]!
  }
  return ab / Math.sqrt(aa * bb)
}

/** Index of the greatest, the first of several. */
export function best(logits: ArrayLike<number>): number {
  let winner = 0
  for (let v = 1; v < logits.length; v++) if (logits[v]! > logits[winner]!) winner = v
  return winner
}
