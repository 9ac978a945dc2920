import { open, readFile } from 'node:fs/promises'
import { ApusError } from './errors.ts'

/** Writes a file that must not exist yet, for its owner only, and waits for the disk. Errors: `code` with the message. */
export async function writeNew(path: string, text: string, code: string, message: string): Promise<void> {
  const file = await open(path, 'wx', 0o600).catch(cause => {
    throw new ApusError(code, message, { cause })
  })
  try {
    await file.writeFile(text)
    await file.sync()
  } finally {
    await file.close()
  }
}

/** The bytes of a key kept as one line of base64url; undefined when there is no such file. Errors: `key-missing`. */
export async function readKeyFile(path: string): Promise<Uint8Array | undefined> {
  try {
    return new Uint8Array(Buffer.from((await readFile(path, 'utf8')).trim(), 'base64url'))
  } catch (cause) {
    if ((cause as NodeJS.ErrnoException).code === 'ENOENT') return undefined
    throw new ApusError('key-missing', `The key ${path} cannot be read.`, { cause })
  }
}

/** Keeps a key. Errors: `key-exists`, for a key is never overwritten. */
export const writeKeyFile = (path: string, seed: Uint8Array): Promise<void> =>
  writeNew(
    path,
    `${Buffer.from(seed).toString('base64url')}\n`,
    'key-exists',
    `The file ${path} exists and is never overwritten.`,
  )
