import type { Metadata } from './random-model.ts'
import { TRAINING_TEXT } from './text-corpus.ts'
import { trainBpe } from './train-bpe.ts'

const NORMAL = 1
const UNKNOWN = 2
const CONTROL = 3
const USER_DEFINED = 4
const BYTE = 6

export const BPE_CONTROLS = ['<|begin_of_text|>', '<|im_start|>', '<|im_end|>', '<|im_start|>user']
export const BPE_USER_DEFINED = ['<tool_call>', '<think>', '  <br>']

let trained: ReturnType<typeof trainBpe> | undefined

/** A byte-level BPE vocabulary trained on the tests' text, with control and user-defined tokens. */
export function bpeVocabulary(pre: string): Metadata {
  trained ??= trainBpe(TRAINING_TEXT, 700)
  const { tokens, merges } = trained
  const all = [...tokens, ...BPE_CONTROLS, ...BPE_USER_DEFINED]
  const types = [
    ...tokens.map(() => NORMAL),
    ...BPE_CONTROLS.map(() => CONTROL),
    ...BPE_USER_DEFINED.map(() => USER_DEFINED),
  ]
  return {
    'tokenizer.ggml.model': ['text', 'gpt2'],
    'tokenizer.ggml.pre': ['text', pre],
    'tokenizer.ggml.tokens': ['texts', all],
    'tokenizer.ggml.token_type': ['i32s', types],
    'tokenizer.ggml.merges': ['texts', merges],
    'tokenizer.ggml.bos_token_id': ['u32', tokens.length],
    'tokenizer.ggml.eos_token_id': ['u32', tokens.length + 2],
    'tokenizer.ggml.add_bos_token': ['bool', true],
  }
}

/** A SentencePiece vocabulary with byte fallback: 259 tokens, and pieces of a few words with falling scores. */
export function sentencePieceVocabulary(
  words: readonly string[] = ['▁the', 'he', 'th', '▁t', 'in', 'er', '▁'],
): Metadata {
  const bytes = Array.from({ length: 256 }, (_, b) => `<0x${b.toString(16).toUpperCase().padStart(2, '0')}>`)
  return {
    'tokenizer.ggml.model': ['text', 'llama'],
    'tokenizer.ggml.tokens': ['texts', ['<unk>', '<s>', '</s>', ...bytes, ...words]],
    'tokenizer.ggml.scores': ['f32s', [...Array<number>(259).fill(0), ...words.map((_, i) => -i)]],
    'tokenizer.ggml.token_type': [
      'i32s',
      [UNKNOWN, CONTROL, CONTROL, ...bytes.map(() => BYTE), ...words.map(() => NORMAL)],
    ],
    'tokenizer.ggml.bos_token_id': ['u32', 1],
    'tokenizer.ggml.eos_token_id': ['u32', 2],
    'tokenizer.ggml.unknown_token_id': ['u32', 0],
  }
}
