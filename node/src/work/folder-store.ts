import { mkdir, readdir, readFile, rename, stat, unlink, writeFile } from 'node:fs/promises'
import { join } from 'node:path'

/** What can be asked of a job is over within a week, which covers every network's windows. */
const KEEP_MS = 7 * 24 * 3_600_000

/** Files of a folder, one a name, each replaced in one step. */
export interface FolderStore {
  keep(name: string, bytes: string | Uint8Array): Promise<void>
  /** Undefined where nothing is kept under the name. */
  find(name: string): Promise<Buffer | undefined>
  /** Removes what was kept for a week. */
  tidy(now: number): Promise<void>
}

/** A store in a folder for its owner only, which is made when absent. */
export async function openFolderStore(folder: string): Promise<FolderStore> {
  await mkdir(folder, { recursive: true, mode: 0o700 })
  const pathOf = (name: string) => join(folder, name)
  return {
    keep: async (name, bytes) => {
      await writeFile(`${pathOf(name)}.next`, bytes, { mode: 0o600, flush: true })
      await rename(`${pathOf(name)}.next`, pathOf(name))
    },
    find: name => readFile(pathOf(name)).catch(() => undefined),
    tidy: async now => {
      for (const name of await readdir(folder)) {
        const { mtimeMs } = await stat(pathOf(name))
        if (now - mtimeMs > KEEP_MS) await unlink(pathOf(name))
      }
    },
  }
}
