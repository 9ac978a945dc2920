import type { Random } from '../random.ts'

const WORDS =
  "the of a river what is Hello world HELLO don't they've we'LL I'm it'S he'D you'RE naïve façade Straße œuvre function return const import 3rd x86 snake_case camelCase kebab-case".split(
    ' ',
  )
const NUMBERS = [
  '0',
  '7',
  '42',
  '123',
  '1234',
  '12345678',
  '3.14159',
  '1,000,000',
  '٣٤٥',
  '½',
  'Ⅻ',
  '①②③',
  '२०२६',
  '１２３',
]
const SCRIPTS = [
  'Привет мир',
  'Ελληνικά',
  'שלום עולם',
  'مرحبا بالعالم',
  'नमस्ते दुनिया',
  'สวัสดีชาวโลก',
  '안녕하세요',
  'こんにちは世界',
  '你好，世界。',
  '𠮷野家',
  'Việt Nam',
  'Türkçe İıŞş',
  'ქართული',
  'Հայերեն',
  'አማርኛ',
  'தமிழ்',
  'ᏣᎳᎩ',
  'ｆｕｌｌｗｉｄｔｈ',
  'ﬁ ﬂ',
  'ſtraße',
  'K',
]
const EMOJI = ['😀', '👩‍👩‍👧‍👦', '🏳️‍🌈', '👍🏽', '🇩🇪🇫🇷', '❤️', '☃', '🧑🏿‍🚀', '⌚', '#️⃣']
const SPACES = [
  ' ',
  '  ',
  '   ',
  '\t',
  '\n',
  '\n\n',
  '\r\n',
  ' \n',
  '\n ',
  '\t\t ',
  '        ',
  '\u00a0',
  '\u2003',
  '\u3000',
  '\u0085',
  '\u2028',
  '\u200b',
  '\ufeff',
  '\v\f',
  '\u1680 ',
  '\r',
  '\n \n',
]
const PUNCTUATION = [
  '.',
  ',',
  '...',
  '!?',
  '--',
  '—',
  '“quote”',
  '«»',
  '(',
  ')',
  '[]',
  '{}',
  '<>',
  '==',
  '=>',
  '&&',
  '||',
  '$',
  '€',
  '^~',
  '`',
  '\\',
  '/',
  '@',
  '#',
  '%',
  '*',
  '+',
  '_',
  "'",
  '"',
  "''",
  '¿',
  '、',
  '▁',
  'Ġ',
  '\u0000',
  '\u007f',
  '\u001b[0m',
]
const CODE = [
  'for (let i = 0; i < n; i++) {\n\tsum += a[i];\n}\n',
  'def f(x):\n    return x ** 2  # square\n\n',
  '<div class="a">&nbsp;</div>\r\n',
  'SELECT * FROM t WHERE id = 42;',
  '#include <stdio.h>\n\nint main(void) { return 0; }',
  '{"key": [1, 2, 3], "x": null}',
  'https://example.org/a?b=c&d=%20e#f',
  'a->b::c<<=d>>>e',
]
const MARKS = ['e\u0301', 'a\u0308\u0323', 'क्ष', '\u0301', 'x\u200d', '\u202eabc\u202c']

/** Text made of `length` pieces of many kinds: scripts, emoji, whitespace, digits, code, given special tokens. */
export function randomText(random: Random, length: number, specials: readonly string[]): string {
  let text = ''
  for (let i = 0; i < length; i++) {
    const kinds = [
      WORDS,
      WORDS,
      WORDS,
      NUMBERS,
      SCRIPTS,
      EMOJI,
      SPACES,
      SPACES,
      SPACES,
      PUNCTUATION,
      PUNCTUATION,
      CODE,
      MARKS,
    ]
    text +=
      specials.length > 0 && random.below(12) === 0 ? random.pick(specials) : random.pick(random.pick(kinds))
    if (random.below(3) === 0) text += ' '
    // Characters whose class has been settled for decades, so that tables of different age agree.
    if (random.below(5) === 0)
      text += String.fromCodePoint(
        random.pick([0x20, 0xa1, 0x391, 0x410, 0x5d0, 0x4e00, 0xac00]) + random.below(14),
      )
  }
  return text
}

/** Every word and piece above once: what the tests' vocabularies are trained on. */
export const TRAINING_TEXT = [WORDS, NUMBERS, SCRIPTS, EMOJI, SPACES, PUNCTUATION, CODE, MARKS]
  .flatMap(kind => [...kind, ...kind, kind.join(' '), kind.join('\n')])
  .join(' ')
