import { ApusError } from '@apus/shared/kit'
import { createTokenizer, ggufVocabulary } from '@apus/shared/tokenizer'
import type { Llama, LlamaContext, LlamaModel } from 'node-llama-cpp'
import { ggufChatTemplate, promptFrame } from '../../models/chat-template.ts'
import { fileDigest } from '../../models/file-digest.ts'
import { withGguf } from '../../models/gguf/read-gguf.ts'
import type { LoadedModel } from '../engine.ts'
import { runGeneration } from './run-generation.ts'

/** Positions at most, whatever the model allows: bounds the memory of the one K/V cache. */
const MAX_CONTEXT = 8192
/** Tokens evaluated together; fixed because another number rounds differently. */
const BATCH = 512

/** Loads a GGUF file for pinned CPU inference; jobs run one after another. */
export async function loadLlamaModel(llama: Llama, path: string, signal?: AbortSignal): Promise<LoadedModel> {
  const metadata = await withGguf(path, async gguf => gguf.metadata)
  // llama.cpp cuts the text; only pieces and end tokens are taken from here, so the pre-tokenizer does not matter.
  const tokenizer = createTokenizer(ggufVocabulary(new Map(metadata).set('tokenizer.ggml.pre', 'default')))
  const id = await fileDigest(path, signal)
  const model = await llama.loadModel({
    modelPath: path,
    gpuLayers: 0,
    ...(signal && { loadSignal: signal }),
  })
  const positions = Math.min(model.trainContextSize, MAX_CONTEXT)
  const context = await createContext(model, positions, signal)
  const sequence = context.getSequence()
  const { bos, bosString, eosString, shouldPrependBosToken } = model.tokens
  const frame = promptFrame(ggufChatTemplate(metadata), bosString ?? '', eosString ?? '')
  const name = metadata.get('general.name')
  let turn: Promise<unknown> = Promise.resolve()

  return {
    info: {
      id,
      name: typeof name === 'string' ? name : 'unnamed',
      context: positions,
      vocabulary: tokenizer.size,
    },
    tokenize(prompt, format) {
      const text = frame(prompt, format)
      if (!text.isWellFormed())
        throw new ApusError('prompt-invalid', 'The prompt is not valid Unicode text.', { blame: 'peer' })
      const tokens = model.tokenize(text, true)
      return bos !== null && shouldPrependBosToken && tokens[0] !== bos ? [bos, ...tokens] : tokens
    },
    generate(request, abort, onToken) {
      const run = turn.then(() =>
        runGeneration(
          {
            sequence,
            positions,
            batch: BATCH,
            piece: tokenizer.piece,
            vocabulary: tokenizer.size,
            isEnd: token => tokenizer.ends.includes(token) || model.isEogToken(token),
          },
          request,
          abort,
          onToken,
        ),
      )
      turn = run.catch(() => {})
      return run
    },
    async close() {
      await turn
      await context.dispose()
      await model.dispose()
    },
  }
}

async function createContext(
  model: LlamaModel,
  positions: number,
  signal?: AbortSignal,
): Promise<LlamaContext> {
  try {
    return await model.createContext({
      sequences: 1,
      contextSize: positions,
      batchSize: BATCH,
      flashAttention: false,
      threads: 1,
      ...(signal && { createSignal: signal }),
    })
  } catch (cause) {
    await model.dispose()
    throw cause
  }
}
