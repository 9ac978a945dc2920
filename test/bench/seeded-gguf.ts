import { sentencePieceVocabulary } from '../support/gguf/vocabularies.ts'
import { type Entry, encodeGguf, type TensorToWrite } from '../support/gguf/write-gguf.ts'

const WIDTH = 768
const LAYERS = 12
const HEADS = 12
const KV_HEADS = 4
const HIDDEN = 2048
const VOCABULARY = 32_768
const CONTEXT = 512

/** GGML's numbers of the types. */
const F32 = 0
const Q8_0 = 8
/** Values of a Q8_0 block, and its bytes: a scale (f16) and the values (i8). */
const BLOCK = 32
const BLOCK_BYTES = 34
/** Root mean square of random i8. */
const DEVIATION = 74

/** A llama model of 101M random parameters in Q8_0: the same bytes for the same seed. */
export function seededGguf(seed: number): Buffer {
  let state = seed >>> 0
  const matrix = (name: string, columns: number, rows: number): TensorToWrite => {
    const blocks = (columns * rows) / BLOCK
    const data = Buffer.alloc(blocks * BLOCK_BYTES)
    const scale = halfBits(1 / (DEVIATION * Math.sqrt(columns)))
    for (let block = 0; block < blocks; block++) {
      const at = block * BLOCK_BYTES
      data.writeUInt16LE(scale + (state & 255), at)
      for (let i = 2; i < BLOCK_BYTES; i += 4) {
        state = (Math.imul(state, 1_664_525) + 1_013_904_223) >>> 0
        data.writeUInt32LE((state ^ (state >>> 13)) >>> 0, at + i)
      }
    }
    return { name: `${name}.weight`, shape: [columns, rows], type: Q8_0, data }
  }
  const gain = (name: string): TensorToWrite => {
    const ones = new Float32Array(WIDTH).fill(1)
    return { name: `${name}.weight`, shape: [WIDTH], type: F32, data: new Uint8Array(ones.buffer) }
  }
  const kv = (WIDTH / HEADS) * KV_HEADS
  const layers = Array.from({ length: LAYERS }, (_, l) => [
    gain(`blk.${l}.attn_norm`),
    matrix(`blk.${l}.attn_q`, WIDTH, WIDTH),
    matrix(`blk.${l}.attn_k`, WIDTH, kv),
    matrix(`blk.${l}.attn_v`, WIDTH, kv),
    matrix(`blk.${l}.attn_output`, WIDTH, WIDTH),
    gain(`blk.${l}.ffn_norm`),
    matrix(`blk.${l}.ffn_gate`, WIDTH, HIDDEN),
    matrix(`blk.${l}.ffn_up`, WIDTH, HIDDEN),
    matrix(`blk.${l}.ffn_down`, HIDDEN, WIDTH),
  ])
  return encodeGguf({
    metadata: metadata(),
    tensors: [matrix('token_embd', WIDTH, VOCABULARY), ...layers.flat(), gain('output_norm')],
  })
}

function metadata(): Record<string, Entry> {
  const bytesAndControls = 259
  const words = Array.from({ length: VOCABULARY - bytesAndControls }, (_, i) => `▁${i.toString(36)}`)
  return {
    'general.architecture': ['text', 'llama'],
    'general.name': ['text', 'Seeded random 101M'],
    'llama.context_length': ['u32', CONTEXT],
    'llama.embedding_length': ['u32', WIDTH],
    'llama.block_count': ['u32', LAYERS],
    'llama.feed_forward_length': ['u32', HIDDEN],
    'llama.attention.head_count': ['u32', HEADS],
    'llama.attention.head_count_kv': ['u32', KV_HEADS],
    'llama.attention.layer_norm_rms_epsilon': ['f32', 1e-5],
    'llama.rope.freq_base': ['f32', 10_000],
    'llama.rope.dimension_count': ['u32', WIDTH / HEADS],
    ...sentencePieceVocabulary(words),
  }
}

/** A positive number of f16's normal range, cut to its precision. */
function halfBits(value: number): number {
  const exponent = Math.floor(Math.log2(value))
  return ((exponent + 15) << 10) | Math.floor((value / 2 ** exponent - 1) * 1024)
}
