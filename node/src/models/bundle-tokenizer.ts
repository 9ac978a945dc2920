import { decodeCanonical, encodeCanonical } from '@apus/shared/hashing'
import { ApusError } from '@apus/shared/kit'
import type { PromptFormat } from '@apus/shared/protocol'
import { checkVocabulary, createTokenizer, type Tokenizer, type Vocabulary } from '@apus/shared/tokenizer'
import { z } from 'zod'
import { promptFrame } from './chat-template.ts'

const section = z.strictObject({ format: z.literal(1), template: z.string(), vocabulary: z.unknown() })

/** What a bundle knows of text: how prompts become tokens, and tokens bytes. */
export interface BundleTokenizer extends Tokenizer {
  /** Frames a prompt and cuts it. Errors: `prompt-invalid`. */
  tokenize(prompt: string, format: PromptFormat): number[]
}

/** The bytes of a bundle's tokenizer section. */
export const encodeTokenizerSection = (vocabulary: Vocabulary, template: string): Uint8Array =>
  encodeCanonical({ format: 1, template, vocabulary })

/** Reads a bundle's tokenizer section. Errors: `tokenizer-invalid`, `template-invalid`, `not-canonical`. */
export function decodeTokenizerSection(bytes: Uint8Array): BundleTokenizer {
  const parsed = section.safeParse(decodeCanonical(bytes))
  if (!parsed.success)
    throw new ApusError('tokenizer-invalid', 'The tokenizer section of the bundle is malformed.', {
      cause: parsed.error,
    })
  const vocabulary = checkVocabulary(parsed.data.vocabulary)
  const tokenizer = createTokenizer(vocabulary)
  const textOf = (id: number | null) => (id === null ? '' : (vocabulary.tokens[id] ?? ''))
  const frame = promptFrame(parsed.data.template, textOf(vocabulary.bos), textOf(vocabulary.eos))
  return { ...tokenizer, tokenize: (prompt, format) => tokenizer.encodePrompt(frame(prompt, format)) }
}
