import { ApusError } from '../kit/errors.ts'

const TIMEOUT_MS = 30_000

/** Reads a transaction's or data item's data from a gateway, at most `limit` bytes. Errors: `gateway-failed`, `too-large`. */
export async function gatewayData(
  gateway: string,
  id: string,
  limit: number,
  signal: AbortSignal,
): Promise<Uint8Array> {
  const response = await fetch(new URL(`/raw/${encodeURIComponent(id)}`, gateway), {
    signal: AbortSignal.any([signal, AbortSignal.timeout(TIMEOUT_MS)]),
  })
  if (!response.ok || response.body === null)
    throw new ApusError('gateway-failed', `The gateway answered ${response.status} for the data.`, {
      retry: true,
    })
  const chunks: Uint8Array[] = []
  let size = 0
  for await (const chunk of response.body) {
    size += chunk.length
    if (size > limit)
      throw new ApusError('too-large', `The data is larger than ${limit} bytes.`, { blame: 'peer' })
    chunks.push(chunk)
  }
  return Buffer.concat(chunks)
}
