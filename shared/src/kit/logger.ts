import { type Logger, pino, stdSerializers } from 'pino'
import { ApusError } from './errors.ts'

export type { Logger } from 'pino'
export type LogLevel = 'error' | 'warn' | 'info' | 'debug' | 'silent'

/**
 * JSON lines to stderr, or to `file`. Log a fixed sentence and fields: `log.info({ jobId }, 'task taken')`.
 * error: the operator must act; warn: may need to; info: rare and useful; debug: the rest.
 */
export function createLogger(options: { name: string; level: LogLevel; file?: string }): Logger {
  const destination = options.file === undefined ? 2 : { dest: options.file, mkdir: true, sync: false }
  return pino(
    {
      name: options.name,
      level: options.level,
      serializers: { err: serializeError },
      redact: ['jwk', '*.jwk', 'key', '*.key', 'secret', '*.secret'],
    },
    pino.destination(destination),
  )
}

function serializeError(error: unknown): unknown {
  if (!(error instanceof Error)) return error
  const { code, details } = error instanceof ApusError ? error : { code: undefined, details: undefined }
  return { ...stdSerializers.err(error), code, details }
}
