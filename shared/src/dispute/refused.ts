import { ApusError } from '../kit/errors.ts'

/** What a party to a dispute has sent breaks a rule. */
export const refused = (code: string, message: string): ApusError =>
  new ApusError(code, message, { blame: 'peer' })
