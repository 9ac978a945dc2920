/** Who has to change something before a retry can succeed. */
export type Blame = 'self' | 'peer' | 'nobody'

export interface ApusErrorOptions {
  /** Whether the same call may succeed later without anybody changing anything. */
  readonly retry?: boolean
  readonly blame?: Blame
  readonly cause?: unknown
  readonly details?: Readonly<Record<string, unknown>>
}

/** Every error that leaves a module: `code` is stable and machine-readable, `message` is one sentence for a person. */
export class ApusError extends Error {
  readonly code: string
  readonly retry: boolean
  readonly blame: Blame
  readonly details: Readonly<Record<string, unknown>>

  constructor(code: string, message: string, options: ApusErrorOptions = {}) {
    super(message, options.cause === undefined ? undefined : { cause: options.cause })
    this.name = 'ApusError'
    this.code = code
    this.retry = options.retry ?? false
    this.blame = options.blame ?? 'self'
    this.details = options.details ?? {}
  }
}

/** The innermost ApusError code of an error chain, or undefined. */
export function errorCode(error: unknown): string | undefined {
  for (let e = error; e instanceof Error; e = e.cause) if (e instanceof ApusError) return e.code
  return undefined
}

/** One line for a log or a terminal, never a stack. */
export function describeError(error: unknown): string {
  if (error instanceof ApusError) return `${error.code}: ${error.message}`
  return error instanceof Error ? error.message : String(error)
}
