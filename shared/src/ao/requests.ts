import { backoff } from '../kit/backoff.ts'
import { ApusError } from '../kit/errors.ts'
import { sleep } from '../kit/time.ts'
import { type AoResult, rawResultSchema } from './ao-client.ts'

/** First pause before another try, doubled each time up to the longest. */
const FIRST_PAUSE_MS = 200
const LONGEST_PAUSE_MS = 5_000

/** Repeats an idempotent call while its errors say that a retry may help. */
export async function retrying<T>(attempts: number, call: () => Promise<T>): Promise<T> {
  for (let attempt = 1; ; attempt++) {
    try {
      return await call()
    } catch (error) {
      if (!(error instanceof ApusError && error.retry) || attempt >= attempts) throw error
      await sleep(backoff(attempt, FIRST_PAUSE_MS, LONGEST_PAUSE_MS))
    }
  }
}

/** Fetches with a time limit and throws for every status but success. Errors: as `AoClient`. */
export async function checkedFetch(
  input: string | URL | Request,
  init: RequestInit,
  timeoutMs: number,
): Promise<Response> {
  const response = await within(timeoutMs, fetch(input, { ...init, signal: AbortSignal.timeout(timeoutMs) }))
  return checked(response)
}

/** Passes a successful answer on and throws otherwise. */
export async function checked(response: Response): Promise<Response> {
  if (response.ok && response.status !== 204) return response
  const text = (await response.text().catch(() => '')).slice(0, 1_000)
  throw statusError(response.status, text)
}

function statusError(status: number, text: string): ApusError {
  const details = { status, ...unitCode(text) }
  if (status === 404)
    return new ApusError('ao-not-found', `AO does not know what was asked for (${text}).`, { details })
  if (status === 413)
    return new ApusError('ao-too-large', 'The message is larger than AO accepts.', { details })
  if (status === 429 || status >= 500)
    return new ApusError('ao-unreachable', `AO answers with status ${status}.`, {
      retry: true,
      blame: 'peer',
      details,
    })
  return new ApusError('ao-refused', `AO refused the request: ${text || `status ${status}`}.`, { details })
}

/** Local units name the fault in their answer. */
function unitCode(text: string): { code?: string } {
  try {
    const { code } = JSON.parse(text) as { code?: unknown }
    return typeof code === 'string' ? { code } : {}
  } catch {
    return {}
  }
}

/** Bounds a call that takes no signal of its own, and names its failure. Errors: `ao-timeout`, `ao-unreachable`. */
export async function within<T>(timeoutMs: number, call: Promise<T>): Promise<T> {
  let timer: NodeJS.Timeout | undefined
  const expired = new Promise<never>((_, reject) => {
    timer = setTimeout(() => reject(timeout(timeoutMs)), timeoutMs)
  })
  try {
    return await Promise.race([call, expired])
  } catch (cause) {
    if (cause instanceof ApusError) throw cause
    if (cause instanceof Error && cause.name === 'TimeoutError') throw timeout(timeoutMs)
    throw new ApusError('ao-unreachable', 'AO cannot be reached.', { retry: true, blame: 'peer', cause })
  } finally {
    clearTimeout(timer)
  }
}

const timeout = (ms: number): ApusError =>
  new ApusError('ao-timeout', `AO did not answer within ${ms} ms.`, { retry: true, blame: 'peer' })

/** An answer that is not what was asked for; public units give such answers while they are busy. */
export const badAnswer = (what: string, cause?: unknown): ApusError =>
  new ApusError('ao-bad-answer', `AO gave an answer of a wrong shape for ${what}.`, {
    retry: true,
    blame: 'peer',
    cause,
  })

/** A result as the units write it. Errors: `ao-bad-answer`. */
export function readResult(value: unknown): AoResult {
  const parsed = rawResultSchema.safeParse(value)
  const named =
    typeof value === 'object' && value !== null && ['Output', 'Messages', 'Error'].some(key => key in value)
  if (!parsed.success || !named) throw badAnswer('a result', parsed.error)
  const { Output, Messages, Spawns, Assignments, Error: error } = parsed.data
  return {
    output: Output,
    messages: Messages,
    spawns: Spawns,
    assignments: Assignments,
    ...(error ? { error: typeof error === 'string' ? error : JSON.stringify(error) } : {}),
  }
}
