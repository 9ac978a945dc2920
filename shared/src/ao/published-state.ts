import { ApusError } from '../kit/errors.ts'
import { checkedFetch } from './requests.ts'

/** Reads published state at several top-level keys; those that are not published are missing. */
export async function fetchKeys(
  node: string,
  process: string,
  keys: readonly string[],
  timeoutMs: number,
): Promise<Record<string, unknown>> {
  const read = keys.map(async key => [key, await fetchState(node, process, key, 'now', timeoutMs)] as const)
  return Object.fromEntries((await Promise.all(read)).filter(([, value]) => value !== undefined))
}

/** Reads published state from a HyperBEAM node; undefined when nothing is published at the path. */
export async function fetchState(
  node: string,
  process: string,
  path: string,
  at: 'now' | 'compute',
  timeoutMs: number,
): Promise<unknown> {
  const keys = path
    .split('/')
    .filter(key => key !== '')
    .map(encodeURIComponent)
  const url = [node.replace(/\/$/, ''), `${process}~process@1.0`, at, ...keys].join('/')
  try {
    const response = await checkedFetch(url, {}, timeoutMs)
    const type = response.headers.get('content-type') ?? ''
    if (type.includes('json')) return await response.json()
    const text = await response.text()
    // A node may spread a map over headers or parts; asked for JSON it gives it in one piece.
    if (text !== '' && !type.includes('multipart')) return text
    const whole = await checkedFetch(`${url}/serialize~json@1.0`, {}, timeoutMs)
    return await whole.json()
  } catch (error) {
    if (error instanceof ApusError && error.code === 'ao-not-found') return undefined
    throw error
  }
}
