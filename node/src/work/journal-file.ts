import { type FileHandle, open, rename } from 'node:fs/promises'
import { dirname } from 'node:path'

/** The journal's bytes on a disk; what `append` has resolved for survives a power cut. */
export interface JournalFile {
  read(): Promise<Uint8Array>
  /** Writes at the end and waits until the disk has it. On failure the file is as long as before. */
  append(bytes: Uint8Array): Promise<void>
  /** Cuts off everything from `size` on. */
  truncate(size: number): Promise<void>
  /** Puts other contents in the file's place, all or nothing. */
  replace(bytes: Uint8Array): Promise<void>
  close(): Promise<void>
}

/** A journal file at a path, made when absent, readable by its owner only. */
export async function openJournalFile(path: string): Promise<JournalFile> {
  let handle = await open(path, 'a+', 0o600)
  await syncFolder(path)
  let size = (await handle.stat()).size
  return {
    read: async () => {
      const bytes = new Uint8Array(size)
      const { bytesRead } = await handle.read(bytes, 0, size, 0)
      return bytes.subarray(0, bytesRead)
    },
    append: async bytes => {
      try {
        await writeAll(handle, bytes)
        await handle.datasync()
        size += bytes.length
      } catch (error) {
        // Half a record left behind would hide the ones written after it.
        await handle.truncate(size)
        throw error
      }
    },
    truncate: async to => {
      await handle.truncate(to)
      await handle.datasync()
      size = to
    },
    replace: async bytes => {
      const next = await open(`${path}.next`, 'w', 0o600)
      try {
        await writeAll(next, bytes)
        await next.datasync()
      } finally {
        await next.close()
      }
      await rename(`${path}.next`, path)
      await syncFolder(path)
      await handle.close()
      handle = await open(path, 'a+', 0o600)
      size = bytes.length
    },
    close: () => handle.close(),
  }
}

async function writeAll(handle: FileHandle, bytes: Uint8Array): Promise<void> {
  for (let at = 0; at < bytes.length; ) at += (await handle.write(bytes, at)).bytesWritten
}

// A new name is durable only once its folder is.
async function syncFolder(path: string): Promise<void> {
  const folder = await open(dirname(path), 'r')
  try {
    await folder.sync()
  } finally {
    await folder.close()
  }
}
