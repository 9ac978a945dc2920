import { readFileSync } from 'node:fs'
import { errorCode } from '@apus/shared/kit'
import { createTokenizer, ggufVocabulary, type Vocabulary } from '@apus/shared/tokenizer'
import { describe, expect, it } from 'vitest'
import { withGguf } from '../../../../node/src/models/gguf/read-gguf.ts'
import { preTokenize } from '../../../../shared/src/tokenizer/pre-tokenizer.ts'
import { EMBEDDED_Q8 } from '../../../support/embedded-model.ts'
import { randomText } from '../../../support/gguf/text-corpus.ts'
import { BPE_CONTROLS, bpeVocabulary, sentencePieceVocabulary } from '../../../support/gguf/vocabularies.ts'
import { seededRandom } from '../../../support/random.ts'

const fromEntries = (
  entries: ReturnType<typeof bpeVocabulary>,
  change: Record<string, unknown> = {},
): Vocabulary =>
  ggufVocabulary(
    new Map<string, unknown>([
      ...Object.entries(entries).map(([k, [, v]]) => [k, v] as const),
      ...Object.entries(change),
    ]),
  )

const embedded = (): Promise<Vocabulary> => withGguf(EMBEDDED_Q8, async gguf => ggufVocabulary(gguf.metadata))

const codeOf = (act: () => unknown): string | undefined => {
  try {
    act()
    return undefined
  } catch (error) {
    return errorCode(error)
  }
}

describe('the golden tokens of llama.cpp', () => {
  const vectors = JSON.parse(
    readFileSync(new URL('../../../vectors/tokenizer/llama-cpp.json', import.meta.url), 'utf8'),
  ) as { texts: string[]; tokens: Record<string, number[][]> }

  for (const [name, expected] of Object.entries(vectors.tokens))
    it(`are the tokens of our tokenizer for ${name}`, async () => {
      const v = name === 'apus-dictionary' ? await embedded() : fromEntries(bpeVocabulary(name))
      const tokenizer = createTokenizer(v)
      expect(vectors.texts.map(text => tokenizer.encode(text, true))).toEqual(expected)
    })
})

describe('tokenizers', () => {
  for (const [name, entries] of [
    ['llama', sentencePieceVocabulary()],
    ['gpt2', bpeVocabulary('qwen2')],
  ] as const)
    it(`gives back every text from its pieces (${name})`, () => {
      const tokenizer = createTokenizer(fromEntries(entries))
      const random = seededRandom(5)
      for (let i = 0; i < 300; i++) {
        // A character that a SentencePiece model uses for spaces cannot come back as itself.
        const text = randomText(random, 8, []).replaceAll('▁', '')
        const bytes = Buffer.concat(tokenizer.encode(text, false).map(id => tokenizer.piece(id)))
        expect(bytes.toString('utf8')).toBe(name === 'llama' && text !== '' ? ` ${text}` : text)
      }
    })

  it('merges the best pair first and the leftmost of equals', () => {
    const tokenizer = createTokenizer(fromEntries(sentencePieceVocabulary(['bc', 'ab', 'aa', '▁'])))
    const spell = (text: string) =>
      tokenizer.encode(text, false).map(id => Buffer.from(tokenizer.piece(id)).toString())
    expect(spell('abc')).toEqual([' ', 'a', 'bc'])
    expect(spell('aaa')).toEqual([' ', 'aa', 'a'])
  })

  it('recognises special tokens only where they are allowed, the longest first', () => {
    const v = fromEntries(bpeVocabulary('llama-bpe'))
    const tokenizer = createTokenizer(v)
    const id = (text: string) => v.tokens.indexOf(text)
    expect(tokenizer.encode('<|im_start|>user<|im_end|>', true)).toEqual([
      id('<|im_start|>user'),
      id('<|im_end|>'),
    ])
    expect(tokenizer.encode('<|im_end|>', false).every(t => !v.ends.includes(t))).toBe(true)
    expect(tokenizer.encode('<think>', false)).toEqual([id('<think>')])
    expect(tokenizer.piece(id('<|im_end|>'))).toHaveLength(0)
    expect(Buffer.from(tokenizer.piece(id('<think>'))).toString()).toBe('<think>')
    expect(v.ends).toEqual([id('<|im_end|>')])
  })

  it('starts a prompt with one start token, also when the text brings its own', () => {
    const v = fromEntries(bpeVocabulary('llama-bpe'))
    const tokenizer = createTokenizer(v)
    expect(tokenizer.encodePrompt('')).toEqual([v.bos])
    expect(tokenizer.encodePrompt(`${BPE_CONTROLS[0]}a`)).toEqual(tokenizer.encodePrompt('a'))
    const plain = createTokenizer(
      fromEntries(bpeVocabulary('qwen2'), {
        'tokenizer.ggml.add_bos_token': false,
        'tokenizer.ggml.add_eos_token': true,
      }),
    )
    expect(plain.encodePrompt('')).toEqual([v.eos])
  })

  it('joins pre-tokenized words to the text', () => {
    const random = seededRandom(6)
    for (const pre of ['default', 'gpt2', 'llama3', 'qwen2', 'smollm'] as const)
      for (let i = 0; i < 100; i++) {
        const text = randomText(random, 6, [])
        const words = preTokenize(pre, text)
        expect(words.join('')).toBe(text)
        expect(words).not.toContain('')
      }
    expect(preTokenize('llama3', "I've 12345  x\n\n y")).toEqual([
      'I',
      "'ve",
      ' ',
      '123',
      '45',
      ' ',
      ' x',
      '\n\n',
      ' y',
    ])
    expect(preTokenize('qwen2', 'a12')).toEqual(['a', '1', '2'])
    expect(preTokenize('gpt2', "I'VE  x")).toEqual(['I', "'", 'VE', ' ', ' x'])
  })

  it('refuses with a code what it cannot do', () => {
    const bpe = bpeVocabulary('qwen2')
    const tokenizer = createTokenizer(fromEntries(bpe))
    expect(codeOf(() => tokenizer.encode('\ud800', false))).toBe('prompt-invalid')
    expect(codeOf(() => tokenizer.piece(1_000_000))).toBe('token-unknown')
    const change = (key: string, value: unknown) => () =>
      fromEntries(bpe, { [`tokenizer.ggml.${key}`]: value })
    expect(codeOf(change('pre', 'unheard-of'))).toBe('tokenizer-unsupported')
    expect(codeOf(change('model', 'bert'))).toBe('tokenizer-unsupported')
    expect(codeOf(change('tokens', ['a', 'a']))).toBe('tokenizer-invalid')
    expect(codeOf(change('token_type', [1]))).toBe('tokenizer-invalid')
    expect(codeOf(change('merges', undefined))).toBe('tokenizer-invalid')
    expect(codeOf(change('eos_token_id', 99_999))).toBe('tokenizer-invalid')
    expect(codeOf(change('eos_token_id', -1))).toBe('tokenizer-invalid')
    expect(
      codeOf(() =>
        fromEntries(bpe, {
          'tokenizer.ggml.tokens': ['a', 'a'],
          'tokenizer.ggml.token_type': [1, 1],
          'tokenizer.ggml.bos_token_id': 0,
          'tokenizer.ggml.eos_token_id': 0,
        }),
      ),
    ).toBe('tokenizer-invalid')
  })
})
