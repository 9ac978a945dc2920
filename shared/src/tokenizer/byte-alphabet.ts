// Byte-level BPE writes each byte as one printable character: printable Latin-1 as itself, the rest from U+0100 up.
const isPrintable = (byte: number): boolean =>
  (byte >= 0x21 && byte <= 0x7e) || (byte >= 0xa1 && byte <= 0xac) || (byte >= 0xae && byte <= 0xff)

let shifted = 0x100

/** The character that stands for each byte in the vocabularies of byte-level BPE. */
export const BYTE_TO_CHARACTER: readonly string[] = Array.from({ length: 256 }, (_, byte) =>
  String.fromCharCode(isPrintable(byte) ? byte : shifted++),
)

export const CHARACTER_TO_BYTE: ReadonlyMap<string, number> = new Map(
  BYTE_TO_CHARACTER.map((character, byte) => [character, byte]),
)
