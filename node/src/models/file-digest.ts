import { createHash } from 'node:crypto'
import { createReadStream } from 'node:fs'
import { pipeline } from 'node:stream/promises'
import { stopIfAborted } from './stop-if-aborted.ts'

/** SHA-256 of a file, base64url. Errors: `aborted`. */
export async function fileDigest(path: string, signal?: AbortSignal): Promise<string> {
  const hash = createHash('sha256')
  try {
    await pipeline(createReadStream(path, { highWaterMark: 1 << 20 }), hash, signal ? { signal } : {})
  } catch (error) {
    stopIfAborted(signal)
    throw error
  }
  return hash.digest('base64url')
}
