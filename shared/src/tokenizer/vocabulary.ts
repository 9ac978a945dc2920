import { z } from 'zod'
import { ApusError } from '../kit/errors.ts'
import { PRE_TOKENIZERS, preTokenizerNamed } from './pre-tokenizer.ts'

/** What a token is for; the numbers are those of GGUF's `tokenizer.ggml.token_type`. */
export const TOKEN_NORMAL = 1
export const TOKEN_UNKNOWN = 2
export const TOKEN_CONTROL = 3
export const TOKEN_USER_DEFINED = 4
export const TOKEN_BYTE = 6

/** More tokens than any known model has, few enough to index safely. */
const MAX_TOKENS = 1 << 20

const tokenId = z.int().min(0).nullable()

/** Everything a tokenizer is made of, in integers and text, so that it can be hashed as part of a bundle. */
export const vocabulary = z
  .strictObject({
    /** `llama`: SentencePiece BPE with byte fallback; `gpt2`: byte-level BPE. */
    model: z.enum(['llama', 'gpt2']),
    pre: z.enum(PRE_TOKENIZERS),
    tokens: z.array(z.string().min(1)).min(1).max(MAX_TOKENS),
    types: z.array(z.int().min(0).max(6)),
    /** `llama`: for each token the place of its score among all distinct scores, best first; pairs of low rank merge first. */
    ranks: z.array(z.int().min(0)),
    /** `gpt2`: "left right" in the order in which pairs merge. */
    merges: z.array(z.string()),
    bos: tokenId,
    eos: tokenId,
    unknown: tokenId,
    /** Tokens that end an answer. */
    ends: z.array(z.int().min(0)).max(64),
    addBos: z.boolean(),
    addEos: z.boolean(),
    /** `llama`: text after a special token and at the start is preceded by a space. */
    addSpacePrefix: z.boolean(),
  })
  .readonly()

export type Vocabulary = z.infer<typeof vocabulary>

// Texts by which models mark the end of an answer, whatever type their file gives these tokens.
const END_TEXTS = [
  '</s>',
  '<|eot_id|>',
  '<|im_end|>',
  '<|end|>',
  '<|endoftext|>',
  '<|end_of_text|>',
  '<|eom_id|>',
  '<end_of_turn>',
  '<EOT>',
  '_<EOT>',
  '<eos>',
]

/**
 * The vocabulary in the metadata of a GGUF file. Errors: `tokenizer-unsupported` for another kind of tokenizer or
 * pre-tokenizer, `tokenizer-invalid` when the parts contradict each other.
 */
export function ggufVocabulary(metadata: ReadonlyMap<string, unknown>): Vocabulary {
  const read = <T>(key: string, schema: z.ZodType<T>): T => {
    const parsed = schema.safeParse(metadata.get(`tokenizer.ggml.${key}`))
    if (parsed.success) return parsed.data
    throw invalid(`The entry tokenizer.ggml.${key} of the model file is missing or malformed.`)
  }
  const model = read('model', z.string())
  if (model !== 'llama' && model !== 'gpt2')
    throw new ApusError('tokenizer-unsupported', `The tokenizer "${model}" is not supported.`)
  const isLlama = model === 'llama'

  const tokens = read('tokens', z.array(z.string()).min(1).max(MAX_TOKENS)).map(
    (text, i) => text || `[EMPTY_${i}]`,
  )
  const count = tokens.length
  const types =
    read('token_type', z.array(z.int()).length(count).optional()) ?? tokens.map(() => TOKEN_NORMAL)
  const scores = isLlama ? read('scores', z.array(z.number()).length(count)) : []
  const merges = isLlama ? [] : read('merges', z.array(z.string()))
  const pre = preTokenizerNamed(isLlama ? 'default' : read('pre', z.string().default('default')))

  const special = (name: string, otherwise: number | null): number | null => {
    const id = read(`${name}_token_id`, z.int().min(0).optional()) ?? otherwise
    if (id !== null && id >= count)
      throw invalid(`The ${name} token ${id} is not one of the ${count} tokens.`)
    return id
  }
  const bos = special('bos', isLlama ? 1 : null)
  const eos = special('eos', isLlama ? 2 : null)
  const named = END_TEXTS.map(text => tokens.indexOf(text)).filter(id => id >= 0)
  const ends = [eos, special('eot', null), special('eom', null), ...named].filter(id => id !== null)
  for (const id of ends) types[id] = TOKEN_CONTROL

  return checkVocabulary({
    model,
    pre,
    tokens,
    types,
    ranks: rankScores(scores),
    merges,
    bos,
    eos,
    unknown: special('unknown', isLlama ? 0 : null),
    ends: [...new Set(ends)].sort((a, b) => a - b),
    addBos: bos !== null && (read('add_bos_token', z.boolean().optional()) ?? (isLlama || pre === 'llama3')),
    addEos: eos !== null && (read('add_eos_token', z.boolean().optional()) ?? false),
    addSpacePrefix: read('add_space_prefix', z.boolean().optional()) ?? isLlama,
  })
}

/** Checks what the schema cannot say. Errors: `tokenizer-invalid`. */
export function checkVocabulary(value: unknown): Vocabulary {
  const parsed = vocabulary.safeParse(value)
  if (!parsed.success) throw invalid(`The vocabulary is malformed: ${z.prettifyError(parsed.error)}`)
  const v = parsed.data
  const count = v.tokens.length
  if (v.types.length !== count) throw invalid('The vocabulary does not have one type for each token.')
  if (v.ranks.length !== (v.model === 'llama' ? count : 0))
    throw invalid('The vocabulary does not have one rank for each token.')
  for (const id of [v.bos, v.eos, v.unknown, ...v.ends])
    if (id !== null && id >= count)
      throw invalid(`The special token ${id} is not one of the ${count} tokens.`)
  const seen = new Set(v.tokens)
  if (seen.size !== count) throw invalid('Two tokens of the vocabulary have the same text.')
  return v
}

function rankScores(scores: readonly number[]): number[] {
  if (scores.some(Number.isNaN)) throw invalid('A score of the vocabulary is not a number.')
  const distinct = [...new Set(scores.map(s => s + 0))].sort((a, b) => b - a)
  const rank = new Map(distinct.map((score, i) => [score, i]))
  return scores.map(score => rank.get(score) as number)
}

const invalid = (message: string): ApusError => new ApusError('tokenizer-invalid', message)
