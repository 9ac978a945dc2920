import { ApusError } from '../kit/errors.ts'

/** Decimal places of the token: 10^12 units are one APUS. */
export const DENOMINATION = 12
const UNITS_PER_APUS = 10n ** BigInt(DENOMINATION)

/** Units of an amount that a person wrote in APUS, such as `12.5`. Errors: `amount-invalid`. */
export function parseApus(text: string): bigint {
  const parts = /^(\d{1,30})(?:\.(\d{1,12}))?$/.exec(text.trim())
  if (parts === null)
    throw new ApusError('amount-invalid', `"${text}" is not an amount of APUS such as 1000 or 12.5.`)
  return BigInt(parts[1] ?? '0') * UNITS_PER_APUS + BigInt((parts[2] ?? '').padEnd(DENOMINATION, '0'))
}

/** Units as APUS without needless zeros. */
export function formatApus(units: bigint): string {
  const sign = units < 0n ? '-' : ''
  const size = units < 0n ? -units : units
  const fraction = String(size % UNITS_PER_APUS)
    .padStart(DENOMINATION, '0')
    .replace(/0+$/, '')
  return `${sign}${size / UNITS_PER_APUS}${fraction === '' ? '' : `.${fraction}`}`
}
