import { ApusError } from '../kit/errors.ts'

/** The ways in which byte-level BPE models cut text into words before merging. */
export const PRE_TOKENIZERS = ['default', 'gpt2', 'llama3', 'qwen2', 'smollm'] as const
export type PreTokenizer = (typeof PRE_TOKENIZERS)[number]

const names: ReadonlyMap<string, PreTokenizer> = new Map([
  ['default', 'default'],
  ['gpt-2', 'gpt2'],
  ['phi-2', 'gpt2'],
  ['mpt', 'gpt2'],
  ['olmo', 'gpt2'],
  ['llama-bpe', 'llama3'],
  ['llama3', 'llama3'],
  ['llama-v3', 'llama3'],
  ['falcon3', 'llama3'],
  ['pixtral', 'llama3'],
  ['lfm2', 'llama3'],
  ['qwen2', 'qwen2'],
  ['deepseek-r1-qwen', 'qwen2'],
  ['megrez', 'qwen2'],
  ['smollm', 'smollm'],
  ['starcoder', 'smollm'],
  ['refact', 'smollm'],
  ['codeshell', 'smollm'],
])

/** The pre-tokenizer that a GGUF file names. Errors: `tokenizer-unsupported`. */
export function preTokenizerNamed(name: string): PreTokenizer {
  const pre = names.get(name)
  if (pre === undefined)
    throw new ApusError('tokenizer-unsupported', `The pre-tokenizer "${name}" is not supported.`)
  return pre
}

// Unicode's White_Space, which is not JavaScript's \s.
const SPACES = '\\t-\\r \\x85\\xa0\\u1680\\u2000-\\u200a\\u2028\\u2029\\u202f\\u205f\\u3000'
const S = `[${SPACES}]`
const OTHER = `[^${SPACES}\\p{L}\\p{N}]`

const GPT2 = `'s|'t|'re|'ve|'m|'ll|'d| ?\\p{L}+| ?\\p{N}+| ?${OTHER}+|${S}+(?![^${SPACES}])|${S}+`

const llama3 = (digits: string): string =>
  `'[sS]|'[tT]|'[rR][eE]|'[vV][eE]|'[mM]|'[lL][lL]|'[dD]|[^\\r\\n\\p{L}\\p{N}]?\\p{L}+|${digits}|` +
  ` ?${OTHER}+[\\r\\n]*|${S}*[\\r\\n]+|${S}+(?![^${SPACES}])|${S}+`

const compile = (...sources: string[]): readonly RegExp[] => sources.map(s => new RegExp(s, 'gsu'))

// Each expression cuts every piece that the one before it left; what it does not match stays a piece of its own.
const cuts: Readonly<Record<PreTokenizer, readonly RegExp[]>> = {
  default: compile('[\\p{P}$+<=>^~|]+', GPT2, '\\p{N}+', '[0-9][0-9][0-9]'),
  gpt2: compile(GPT2),
  llama3: compile(llama3('\\p{N}{1,3}')),
  qwen2: compile(llama3('\\p{N}')),
  smollm: compile('\\p{N}', GPT2),
}

/** Cuts text into words; joined they are the text. */
export function preTokenize(pre: PreTokenizer, text: string): readonly string[] {
  let pieces: readonly string[] = [text]
  for (const cut of cuts[pre]) pieces = pieces.flatMap(piece => splitAround(piece, cut))
  return pieces
}

function splitAround(text: string, cut: RegExp): string[] {
  const pieces: string[] = []
  let end = 0
  for (const match of text.matchAll(cut)) {
    if (match.index > end) pieces.push(text.slice(end, match.index))
    pieces.push(match[0])
    end = match.index + match[0].length
  }
  if (end < text.length) pieces.push(text.slice(end))
  return pieces
}
