import { seededRandom } from '../random.ts'
import { encodeTensor, GGML } from './quantise-blocks.ts'
import { type BlockType, isBlockType, randomBlocks } from './random-blocks.ts'
import { type Entry, encodeGguf, type TensorToWrite } from './write-gguf.ts'

export type Metadata = Readonly<Record<string, Entry>>

export interface RandomModel {
  readonly seed: number
  readonly architecture?: 'llama' | 'qwen2'
  readonly vocabulary: Metadata
  readonly layers?: number
  readonly heads?: number
  readonly kvHeads?: number
  readonly headSize?: number
  readonly hidden?: number
  readonly context?: number
  readonly tied?: boolean
  readonly type?: 'F32' | 'F16' | 'BF16' | 'Q8_0' | BlockType
  readonly extra?: Metadata
}

/** A GGUF file of a model with random weights, small enough for llama.cpp to run in milliseconds. */
export function randomModel(model: RandomModel): Buffer {
  const { architecture: arch = 'llama', layers = 1, heads = 2, kvHeads = 1, headSize = 16 } = model
  const { hidden = 64, context = 64, tied = false, type = 'F32' } = model
  const width = heads * headSize
  const tokens = model.vocabulary['tokenizer.ggml.tokens']
  if (tokens?.[0] !== 'texts') throw new Error('the vocabulary has no tokens')
  const random = seededRandom(model.seed)

  const tensor = (
    name: string,
    kind: typeof type,
    deviation: number,
    mean: number,
    ...shape: number[]
  ): TensorToWrite => {
    const count = shape.reduce((a, b) => a * b, 1)
    if (isBlockType(kind))
      return { name, shape, type: GGML[kind], data: randomBlocks(kind, count, deviation, random) }
    const values = Float32Array.from({ length: count }, () => mean + deviation * random.normal())
    return { name, shape, type: GGML[kind], data: encodeTensor(kind, values) }
  }
  const matrix = (name: string, columns: number, rows: number) =>
    tensor(`${name}.weight`, type, 1 / Math.sqrt(columns), 0, columns, rows)
  const gain = (name: string) => tensor(`${name}.weight`, 'F32', 0.1, 1, width)
  const bias = (name: string, rows: number) => tensor(`${name}.bias`, 'F32', 0.5, 0, rows)

  const tensors = [matrix('token_embd', width, tokens[1].length)]
  for (let l = 0; l < layers; l++) {
    const b = `blk.${l}`
    tensors.push(
      gain(`${b}.attn_norm`),
      matrix(`${b}.attn_q`, width, width),
      matrix(`${b}.attn_k`, width, kvHeads * headSize),
      matrix(`${b}.attn_v`, width, kvHeads * headSize),
      matrix(`${b}.attn_output`, width, width),
      gain(`${b}.ffn_norm`),
      matrix(`${b}.ffn_gate`, width, hidden),
      matrix(`${b}.ffn_up`, width, hidden),
      matrix(`${b}.ffn_down`, hidden, width),
    )
    if (arch === 'qwen2')
      tensors.push(
        bias(`${b}.attn_q`, width),
        bias(`${b}.attn_k`, kvHeads * headSize),
        bias(`${b}.attn_v`, kvHeads * headSize),
      )
  }
  tensors.push(gain('output_norm'))
  if (!tied) tensors.push(matrix('output', width, tokens[1].length))

  return encodeGguf({
    metadata: {
      'general.architecture': ['text', arch],
      'general.name': ['text', `Random ${model.seed}`],
      [`${arch}.context_length`]: ['u32', context],
      [`${arch}.embedding_length`]: ['u32', width],
      [`${arch}.block_count`]: ['u32', layers],
      [`${arch}.feed_forward_length`]: ['u32', hidden],
      [`${arch}.attention.head_count`]: ['u32', heads],
      [`${arch}.attention.head_count_kv`]: ['u32', kvHeads],
      [`${arch}.attention.layer_norm_rms_epsilon`]: ['f32', 1e-5],
      [`${arch}.rope.freq_base`]: ['f32', 10_000],
      ...(arch === 'llama' && { 'llama.rope.dimension_count': ['u32', headSize] as const }),
      ...model.vocabulary,
      ...model.extra,
    },
    tensors,
  })
}
