import { ApusError } from '../kit/errors.ts'
import { BYTE_TO_CHARACTER, CHARACTER_TO_BYTE } from './byte-alphabet.ts'
import { mergeSymbols } from './merge.ts'
import { preTokenize } from './pre-tokenizer.ts'
import {
  TOKEN_BYTE,
  TOKEN_CONTROL,
  TOKEN_NORMAL,
  TOKEN_UNKNOWN,
  TOKEN_USER_DEFINED,
  type Vocabulary,
} from './vocabulary.ts'

export interface Tokenizer {
  readonly size: number
  readonly ends: readonly number[]
  /**
   * Cuts text into token ids. With `special`, the texts of control tokens become those tokens; without, they are
   * plain text. Adds no start or end token. Errors: `prompt-invalid`.
   */
  encode(text: string, special: boolean): number[]
  /** A whole prompt: special tokens are recognised, and the start and end tokens added that the model asks for. */
  encodePrompt(text: string): number[]
  /** The bytes that a token adds to the answer: none for control tokens. Errors: `token-unknown`. */
  piece(id: number): Uint8Array
}

/** A tokenizer for a checked vocabulary. Pure: equal vocabularies and texts give equal tokens. */
export function createTokenizer(v: Vocabulary): Tokenizer {
  const ids = new Map(v.tokens.map((text, id) => [text, id]))
  const specials = specialTokens(v)
  const encodeText = v.model === 'llama' ? sentencePiece(v, ids) : byteLevel(v, ids)
  const pieces = v.tokens.map((text, id) => pieceBytes(v, text, v.types[id] ?? TOKEN_NORMAL))

  function encode(text: string, special: boolean): number[] {
    if (!text.isWellFormed())
      throw new ApusError('prompt-invalid', 'The prompt is not valid Unicode text.', { blame: 'peer' })
    const out: number[] = []
    let afterSpecial = true
    for (const part of splitSpecials(text, special ? specials : specials.filter(s => !s.hidden))) {
      if (typeof part === 'number') out.push(part)
      else encodeText(v.addSpacePrefix && afterSpecial ? ` ${part}` : part, out)
      afterSpecial = typeof part === 'number'
    }
    return out
  }

  return {
    size: v.tokens.length,
    ends: v.ends,
    encode,
    encodePrompt(text) {
      const tokens = encode(text, true)
      if (v.addBos && v.bos !== null && tokens[0] !== v.bos) tokens.unshift(v.bos)
      if (v.addEos && v.eos !== null) tokens.push(v.eos)
      return tokens
    },
    piece(id) {
      const piece = pieces[id]
      if (piece === undefined)
        throw new ApusError(
          'token-unknown',
          `The token ${id} is not one of the ${pieces.length} tokens of the model.`,
        )
      return piece
    },
  }
}

interface SpecialToken {
  readonly id: number
  readonly text: string
  /** Recognised only where the text may contain special tokens. */
  readonly hidden: boolean
}

function specialTokens(v: Vocabulary): SpecialToken[] {
  const found: (SpecialToken & { bytes: number })[] = []
  v.tokens.forEach((text, id) => {
    const type = v.types[id]
    const hidden = type === TOKEN_CONTROL || type === TOKEN_UNKNOWN
    if (hidden || type === TOKEN_USER_DEFINED)
      found.push({ id, text, hidden, bytes: Buffer.byteLength(text) })
  })
  // Longer texts win where one contains another.
  return found.sort((a, b) => b.bytes - a.bytes || a.id - b.id)
}

function splitSpecials(text: string, specials: readonly SpecialToken[]): (string | number)[] {
  let parts: (string | number)[] = text === '' ? [] : [text]
  for (const special of specials) {
    if (!text.includes(special.text)) continue
    parts = parts.flatMap(part =>
      typeof part === 'number'
        ? [part]
        : part.split(special.text).flatMap((piece, i) => {
            const before = i === 0 ? [] : [special.id]
            return piece === '' ? before : [...before, piece]
          }),
    )
  }
  return parts
}

type TextEncoder = (text: string, out: number[]) => void

/** SentencePiece BPE: characters merge towards the best-scored tokens; what is no token falls back to bytes. */
function sentencePiece(v: Vocabulary, ids: ReadonlyMap<string, number>): TextEncoder {
  const byteIds = Array.from({ length: 256 }, (_, byte) => {
    const name = `<0x${byte.toString(16).toUpperCase().padStart(2, '0')}>`
    return ids.get(name) ?? (byte < 128 ? ids.get(String.fromCharCode(byte)) : undefined) ?? v.unknown
  })
  return (text, out) => {
    const escaped = text.replaceAll(' ', SPACE_MARK)
    const starts = characterStarts(escaped)
    const left = mergeSymbols(escaped, starts, (a, b) => {
      const id = ids.get(a + b)
      return id === undefined ? undefined : v.ranks[id]
    })
    left.forEach((start, i) => {
      const symbol = escaped.slice(start, left[i + 1])
      const id = ids.get(symbol)
      if (id !== undefined) out.push(id)
      else for (const byte of Buffer.from(symbol, 'utf8')) out.push(requireToken(byteIds[byte] ?? null, byte))
    })
  }
}

/** Byte-level BPE: words, each written in the byte alphabet, merge in the order of the merge list. */
function byteLevel(v: Vocabulary, ids: ReadonlyMap<string, number>): TextEncoder {
  const ranks = new Map<string, number>()
  v.merges.forEach((pair, rank) => {
    if (!ranks.has(pair)) ranks.set(pair, rank)
  })
  const wholeWords = v.pre === 'llama3'
  return (text, out) => {
    for (const word of preTokenize(v.pre, text)) {
      let spelled = ''
      for (const byte of Buffer.from(word, 'utf8')) spelled += BYTE_TO_CHARACTER[byte]
      const whole = wholeWords ? ids.get(spelled) : undefined
      if (whole !== undefined) {
        out.push(whole)
        continue
      }
      const left = mergeSymbols(spelled, characterStarts(spelled), (a, b) => ranks.get(`${a} ${b}`))
      left.forEach((start, i) => {
        const symbol = spelled.slice(start, left[i + 1])
        out.push(requireToken(ids.get(symbol) ?? v.unknown, CHARACTER_TO_BYTE.get(symbol.charAt(0)) ?? 0))
      })
    }
  }
}

function requireToken(id: number | null, byte: number): number {
  if (id === null)
    throw new ApusError('prompt-invalid', `The model has no token for the byte ${byte} of the prompt.`, {
      blame: 'peer',
    })
  return id
}

const SPACE_MARK = '▁'

function characterStarts(text: string): number[] {
  const starts: number[] = []
  for (let i = 0; i < text.length; i += (text.codePointAt(i) ?? 0) > 0xffff ? 2 : 1) starts.push(i)
  return starts
}

function pieceBytes(v: Vocabulary, text: string, type: number): Uint8Array {
  if (type === TOKEN_BYTE) return Uint8Array.of(Number.parseInt(text.slice(3, 5), 16))
  if (type === TOKEN_USER_DEFINED) return utf8(text)
  if (type !== TOKEN_NORMAL) return new Uint8Array(0)
  if (v.model === 'llama') return utf8(text.replaceAll(SPACE_MARK, ' '))
  return Uint8Array.from(
    [...text].flatMap(character => CHARACTER_TO_BYTE.get(character) ?? [...utf8(character)]),
  )
}

const utf8 = (text: string): Uint8Array => new Uint8Array(Buffer.from(text, 'utf8'))
