import { type Digest, digestText, type JobId } from '@apus/shared/protocol'
import { z } from 'zod'
import { openFolderStore } from './folder-store.ts'

const kept = z.object({ answerRoot: digestText, pieces: z.array(z.string()) })

/** Answers too large for AO, one file a job, served to whoever asks. */
export interface AnswerStore {
  keep(job: JobId, answerRoot: Digest, pieces: readonly string[]): Promise<void>
  find(job: JobId, answerRoot: Digest): Promise<readonly Uint8Array[] | undefined>
  /** Removes answers kept long enough. */
  tidy(now: number): Promise<void>
}

/** A store in a folder, which is made when absent. */
export async function openAnswerStore(folder: string): Promise<AnswerStore> {
  const store = await openFolderStore(folder)
  const nameOf = (job: JobId) => `${job}.json`
  return {
    keep: (job, answerRoot, pieces) => store.keep(nameOf(job), JSON.stringify({ answerRoot, pieces })),
    find: async (job, answerRoot) => {
      const bytes = await store.find(nameOf(job))
      if (bytes === undefined) return undefined
      const answer = kept.parse(JSON.parse(bytes.toString('utf8')))
      return answer.answerRoot === answerRoot ? answer.pieces.map(p => Buffer.from(p, 'base64')) : undefined
    },
    tidy: now => store.tidy(now),
  }
}
