import { decodeCanonical, encodeCanonical } from '@apus/shared/hashing'
import { CHECKPOINT_BYTES, type RunLeaves } from '@apus/shared/machine'
import type { JobId } from '@apus/shared/protocol'
import { z } from 'zod'
import { openFolderStore } from './folder-store.ts'

const HASH_BYTES = 32

const kept = z.object({ c: z.instanceof(Uint8Array), p: z.instanceof(Uint8Array) })

/** The leaves under the roots that this miner revealed, one file a job. What is lost can be computed again. */
export interface LeafStore {
  keep(job: JobId, leaves: RunLeaves): Promise<void>
  find(job: JobId): Promise<RunLeaves | undefined>
  /** Removes what was kept long enough. */
  tidy(now: number): Promise<void>
}

/** A store in a folder, which is made when absent. */
export async function openLeafStore(folder: string): Promise<LeafStore> {
  const store = await openFolderStore(folder)
  return {
    keep: (job, { checkpoints, pageLeaves }) =>
      store.keep(job, encodeCanonical({ c: Buffer.concat(checkpoints), p: Buffer.concat(pageLeaves) })),
    find: async job => {
      const bytes = await store.find(job)
      if (bytes === undefined) return undefined
      const { c, p } = kept.parse(decodeCanonical(bytes))
      return { checkpoints: cut(c, CHECKPOINT_BYTES), pageLeaves: cut(p, HASH_BYTES) }
    },
    tidy: now => store.tidy(now),
  }
}

const cut = (bytes: Uint8Array, size: number): Uint8Array[] =>
  Array.from({ length: bytes.length / size }, (_, i) => bytes.slice(i * size, (i + 1) * size))
