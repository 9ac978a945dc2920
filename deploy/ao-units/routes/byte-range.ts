import { ApusError } from '@apus/shared/kit'

/** First and last byte asked for by a `Range` header, or undefined for the whole. Errors: `range-invalid`. */
export function byteRange(
  header: string | undefined,
  size: number,
): { readonly first: number; readonly last: number } | undefined {
  const match = /^bytes=(\d*)-(\d*)$/.exec(header ?? '')
  if (!match || (match[1] === '' && match[2] === '')) return undefined
  const [, from = '', to = ''] = match
  const first = from === '' ? Math.max(0, size - Number(to)) : Number(from)
  const last = from === '' || to === '' ? size - 1 : Math.min(Number(to), size - 1)
  if (first > last || first >= size)
    throw new ApusError('range-invalid', `The range ${header} lies outside ${size} bytes.`, { blame: 'peer' })
  return { first, last }
}
