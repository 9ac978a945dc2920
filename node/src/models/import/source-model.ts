import { ApusError } from '@apus/shared/kit'
import { z } from 'zod'
import { isReadable } from '../gguf/dequantise.ts'
import type { Gguf, GgufTensor } from '../gguf/read-gguf.ts'

/** What the importer needs to know of a Llama-like model in a GGUF file. */
export interface SourceModel {
  readonly name: string
  /** Pairs of a head that rotate together: neighbours, or one in each half. */
  readonly pairing: 'adjacent' | 'halves'
  readonly layers: number
  readonly width: number
  readonly heads: number
  readonly kvHeads: number
  readonly headSize: number
  readonly hidden: number
  readonly vocabulary: number
  readonly context: number
  /** Exact value of the file's float. */
  readonly epsilon: number
  readonly ropeBase: number
  /** What each pair's frequency is divided by, when it is the same for all. */
  readonly ropeScale: number
  readonly tied: boolean
  readonly tensors: ReadonlyMap<string, GgufTensor>
}

const PAIRINGS: ReadonlyMap<unknown, SourceModel['pairing']> = new Map([
  ['llama', 'adjacent'],
  ['qwen2', 'halves'],
])

// Absurd is what no integer machine could run; the machine's own limits are checked with the manifest.
const count = z
  .int()
  .min(1)
  .max(1 << 20)
const positive = z.number().positive().finite()

/**
 * The model in a GGUF header. Errors: `model-unsupported` for another architecture or a feature that the integer
 * machine does not have, `gguf-corrupt` for missing entries or tensors, or shapes that contradict each other.
 */
export function sourceModel(gguf: Gguf): SourceModel {
  const architecture = gguf.metadata.get('general.architecture')
  const pairing = PAIRINGS.get(architecture)
  if (pairing === undefined)
    throw unsupported(`The architecture "${String(architecture)}" cannot be imported; llama and qwen2 can.`)
  const read = <T>(key: string, schema: z.ZodType<T>): T => {
    const parsed = schema.safeParse(gguf.metadata.get(`${architecture}.${key}`))
    if (parsed.success) return parsed.data
    throw corrupt(`The entry ${architecture}.${key} of the model file is missing or out of range.`)
  }

  const width = read('embedding_length', count)
  const heads = read('attention.head_count', count)
  const headSize = read('attention.key_length', count.default(width / heads))
  if (read('attention.value_length', count.default(headSize)) !== headSize)
    throw unsupported('The model has keys and values of different sizes.')
  if (read('rope.dimension_count', count.default(headSize)) !== headSize)
    throw unsupported('The model rotates only part of a head.')
  if (read('expert_count', z.int().default(0)) > 0) throw unsupported('The model is a mixture of experts.')
  const scaling = read('rope.scaling.type', z.string().default('none'))
  if (scaling !== 'none' && scaling !== 'linear')
    throw unsupported(`The rotation scaling "${scaling}" is not supported.`)
  const window = read('attention.sliding_window', z.int().min(0).default(0))
  const context = read(
    'context_length',
    z
      .int()
      .min(1)
      .max(2 ** 31),
  )
  const name = gguf.metadata.get('general.name')

  const model: SourceModel = {
    name: typeof name === 'string' ? name : 'unnamed',
    pairing,
    layers: read('block_count', count),
    width,
    heads,
    kvHeads: read('attention.head_count_kv', count.default(heads)),
    headSize,
    hidden: read('feed_forward_length', count),
    vocabulary: gguf.tensors.get('token_embd.weight')?.shape[1] ?? 0,
    // Beyond its window a model would need a mask that the machine does not have.
    context: window > 0 ? Math.min(context, window) : context,
    epsilon: read('attention.layer_norm_rms_epsilon', positive),
    ropeBase: read('rope.freq_base', positive.default(10_000)),
    ropeScale: scaling === 'linear' ? read('rope.scaling.factor', positive) : 1,
    tied: !gguf.tensors.has('output.weight'),
    tensors: gguf.tensors,
  }
  checkTensors(model)
  return model
}

/** Shapes by name: [columns] or [columns, rows]. */
function expectedShapes(m: SourceModel): Map<string, { shape: readonly number[]; optional: boolean }> {
  const shapes = new Map<string, { shape: readonly number[]; optional: boolean }>()
  const need = (name: string, ...shape: number[]) => shapes.set(name, { shape, optional: false })
  const linear = (name: string, columns: number, rows: number) => {
    need(`${name}.weight`, columns, rows)
    shapes.set(`${name}.bias`, { shape: [rows], optional: true })
  }
  need('token_embd.weight', m.width, m.vocabulary)
  need('output_norm.weight', m.width)
  shapes.set('output.weight', { shape: [m.width, m.vocabulary], optional: true })
  shapes.set('rope_freqs.weight', { shape: [m.headSize / 2], optional: true })
  for (let l = 0; l < m.layers; l++) {
    const block = `blk.${l}`
    need(`${block}.attn_norm.weight`, m.width)
    linear(`${block}.attn_q`, m.width, m.heads * m.headSize)
    linear(`${block}.attn_k`, m.width, m.kvHeads * m.headSize)
    linear(`${block}.attn_v`, m.width, m.kvHeads * m.headSize)
    linear(`${block}.attn_output`, m.heads * m.headSize, m.width)
    need(`${block}.ffn_norm.weight`, m.width)
    linear(`${block}.ffn_gate`, m.width, m.hidden)
    linear(`${block}.ffn_up`, m.width, m.hidden)
    linear(`${block}.ffn_down`, m.hidden, m.width)
  }
  return shapes
}

function checkTensors(m: SourceModel): void {
  const expected = expectedShapes(m)
  for (const [name, { shape, optional }] of expected) {
    const tensor = m.tensors.get(name)
    if (tensor === undefined) {
      if (optional) continue
      throw corrupt(`The model file has no tensor ${name}.`)
    }
    if (tensor.shape.length !== shape.length || tensor.shape.some((n, i) => n !== shape[i]))
      throw corrupt(
        `The tensor ${name} has the shape ${tensor.shape.join('×')} instead of ${shape.join('×')}.`,
      )
    if (!isReadable(tensor.type.name))
      throw new ApusError(
        'gguf-unsupported',
        `The tensor ${name} has type ${tensor.type.name}, which cannot be imported.`,
      )
  }
  for (const name of m.tensors.keys())
    if (!expected.has(name))
      throw unsupported(`The model has a tensor ${name}, which the machine does not know.`)
}

const unsupported = (message: string): ApusError => new ApusError('model-unsupported', message)
const corrupt = (message: string): ApusError => new ApusError('gguf-corrupt', message)
