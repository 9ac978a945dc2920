/** The longest beginning of a text, in whole characters, that has at most this many bytes of UTF-8. */
export function firstBytes(text: string, most: number): string {
  let bytes = 0
  let short = ''
  for (const character of text.toWellFormed()) {
    bytes += Buffer.byteLength(character)
    if (bytes > most) break
    short += character
  }
  return short
}

/** What a person is shown of what drivers and libraries say: a line that cannot move the cursor, nor be told forwards and backwards. */
const UNSHOWABLE = /[\p{C}\p{Z}]+/gu
const LONGEST_LINE_BYTES = 256

/** A text from outside as one line for a terminal, a log or the sentence of an error. */
export const oneLine = (text: string): string =>
  firstBytes(text.toWellFormed().replace(UNSHOWABLE, ' ').trim(), LONGEST_LINE_BYTES)
