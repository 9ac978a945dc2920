import { ApusError } from '../kit/errors.ts'
import type { AoSent } from './ao-client.ts'

/** A process failed on a message: nothing was changed and nothing was sent. */
export const processError = (process: string, { id }: AoSent, error: string): ApusError =>
  new ApusError('ao-process-error', `The process ${process} failed on the message ${id}: ${error}`, {
    details: { process, message: id, error },
  })

/** Errors: `config-invalid`. */
export function required(value: string | undefined, name: string): string {
  if (value) return value
  throw new ApusError('config-invalid', `Spawning a process needs the ${name} to be configured.`)
}
