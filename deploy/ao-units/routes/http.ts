import type { IncomingMessage, ServerResponse } from 'node:http'
import { ApusError } from '@apus/shared/kit'

export interface Exchange {
  readonly request: IncomingMessage
  readonly response: ServerResponse
  readonly url: URL
  /** Path segments as they came, still percent-encoded. */
  readonly path: readonly string[]
}

/** Answers the exchange, or returns false when the path is not its own. */
export type Route = (exchange: Exchange) => Promise<boolean>

/** What AO's own units accept for one message. */
export const MAX_MESSAGE_BYTES = 10 * 1024 * 1024

const STATUS: Readonly<Record<string, number>> = {
  'not-found': 404,
  'body-too-large': 413,
  'range-invalid': 416,
  'log-write-failed': 503,
  'units-closed': 503,
  'result-pending': 504,
}

export function sendJson(response: ServerResponse, status: number, value: unknown): true {
  return sendBytes(response, status, 'application/json', Buffer.from(JSON.stringify(value)))
}

export function sendText(response: ServerResponse, status: number, text: string): true {
  return sendBytes(response, status, 'text/plain; charset=utf-8', Buffer.from(text))
}

export function sendBytes(response: ServerResponse, status: number, type: string, bytes: Buffer): true {
  response.writeHead(status, { 'content-type': type, 'content-length': bytes.length })
  response.end(bytes)
  return true
}

export function sendError(response: ServerResponse, error: unknown): void {
  const known = error instanceof ApusError ? error : undefined
  const status = known ? (STATUS[known.code] ?? (known.blame === 'peer' ? 400 : 500)) : 500
  const message = known ? `${known.code}: ${known.message}` : 'internal error'
  if (response.headersSent) response.destroy()
  else sendJson(response, status, { error: message, code: known?.code ?? 'internal' })
}

/** The whole body. Errors: `body-too-large`. */
export async function readBody(request: IncomingMessage, limit = MAX_MESSAGE_BYTES): Promise<Buffer> {
  const tooLarge = (): ApusError => {
    // The rest is not read: the connection ends with the answer.
    request.pause()
    return new ApusError('body-too-large', `The body is larger than ${limit} bytes.`, { blame: 'peer' })
  }
  if (Number(request.headers['content-length'] ?? 0) > limit) throw tooLarge()
  const parts: Buffer[] = []
  let length = 0
  for await (const part of request as AsyncIterable<Buffer>) {
    length += part.length
    if (length > limit) throw tooLarge()
    parts.push(part)
  }
  return Buffer.concat(parts, length)
}

/** A JSON body. Errors: `body-too-large`, `json-invalid`. */
export async function readJson(request: IncomingMessage, limit = MAX_MESSAGE_BYTES): Promise<unknown> {
  const body = await readBody(request, limit)
  try {
    return JSON.parse(body.toString())
  } catch {
    throw new ApusError('json-invalid', 'The body is not JSON.', { blame: 'peer' })
  }
}
