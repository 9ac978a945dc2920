import { mkdir, readdir, readFile, rename, stat, unlink, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { decodeCanonical, encodeCanonical } from '@apus/shared/hashing'
import type { RunLeaves } from '@apus/shared/machine'
import type { JobId } from '@apus/shared/protocol'
import { z } from 'zod'

/** Leaves of a run are asked for until its window is over; a week covers every network's. */
const KEEP_MS = 7 * 24 * 3_600_000
const CHECKPOINT_BYTES = 41
const HASH_BYTES = 32

const shelved = z.object({ c: z.instanceof(Uint8Array), p: z.instanceof(Uint8Array) })

/** The leaves under the roots that this miner revealed, one file a job. What is lost can be computed again. */
export interface LeafStore {
  keep(job: JobId, leaves: RunLeaves): Promise<void>
  find(job: JobId): Promise<RunLeaves | undefined>
  /** Removes what was kept long enough. */
  tidy(now: number): Promise<void>
}

/** A shelf in a folder, which is made when absent. */
export async function openLeafStore(folder: string): Promise<LeafStore> {
  await mkdir(folder, { recursive: true, mode: 0o700 })
  const pathOf = (job: JobId) => join(folder, job)
  return {
    keep: async (job, { checkpoints, pageLeaves }) => {
      const bytes = encodeCanonical({ c: Buffer.concat(checkpoints), p: Buffer.concat(pageLeaves) })
      await writeFile(`${pathOf(job)}.next`, bytes, { mode: 0o600 })
      await rename(`${pathOf(job)}.next`, pathOf(job))
    },
    find: async job => {
      const bytes = await readFile(pathOf(job)).catch(() => undefined)
      if (bytes === undefined) return undefined
      const { c, p } = shelved.parse(decodeCanonical(bytes))
      return { checkpoints: cut(c, CHECKPOINT_BYTES), pageLeaves: cut(p, HASH_BYTES) }
    },
    tidy: async now => {
      for (const name of await readdir(folder)) {
        const { mtimeMs } = await stat(join(folder, name))
        if (now - mtimeMs > KEEP_MS) await unlink(join(folder, name))
      }
    },
  }
}

const cut = (bytes: Uint8Array, size: number): Uint8Array[] =>
  Array.from({ length: bytes.length / size }, (_, i) => bytes.slice(i * size, (i + 1) * size))
