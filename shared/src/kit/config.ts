import { readFile } from 'node:fs/promises'
import { inspect } from 'node:util'
import { z } from 'zod'
import { ApusError } from './errors.ts'

/** A value that never prints: text, JSON and inspection all give `[redacted]`. */
export class Secret<T> {
  readonly #value: T

  constructor(value: T) {
    this.#value = value
  }

  reveal(): T {
    return this.#value
  }

  toString(): string {
    return '[redacted]'
  }

  toJSON(): string {
    return '[redacted]'
  }

  [inspect.custom](): string {
    return '[redacted]'
  }
}

/** Checks settings against a schema and names every fault at once (code `config-invalid`). */
export function readConfig<T extends z.ZodType>(schema: T, values: unknown): z.output<T> {
  const result = schema.safeParse(values)
  if (result.success) return result.data
  throw new ApusError('config-invalid', `The settings are not usable:\n${z.prettifyError(result.error)}`)
}

/** Settings kept as JSON in a file. Errors: `config-missing`, `config-invalid`. */
export async function readConfigFile<T extends z.ZodType>(schema: T, path: string): Promise<z.output<T>> {
  let text: string
  try {
    text = await readFile(path, 'utf8')
  } catch (cause) {
    throw new ApusError('config-missing', `The settings file ${path} cannot be read.`, { cause })
  }
  let values: unknown
  try {
    values = JSON.parse(text)
  } catch (cause) {
    throw new ApusError('config-invalid', `The settings file ${path} is not JSON.`, { cause })
  }
  return readConfig(schema, values)
}
