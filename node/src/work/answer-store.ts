import { mkdir, readdir, readFile, rename, stat, unlink, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { type Digest, digestText, type JobId } from '@apus/shared/protocol'
import { z } from 'zod'

/** Answers stay until nobody can dispute or ask for them any more, a week like the jobs on AO. */
const KEEP_MS = 7 * 24 * 3_600_000

const shelved = z.object({ answerRoot: digestText, pieces: z.array(z.string()) })

/** Answers too large for AO, one file a job, served to whoever asks. */
export interface AnswerStore {
  keep(job: JobId, answerRoot: Digest, pieces: readonly string[]): Promise<void>
  find(job: JobId, answerRoot: Digest): Promise<readonly Uint8Array[] | undefined>
  /** Removes answers kept long enough. */
  tidy(now: number): Promise<void>
}

/** A shelf in a folder, which is made when absent. */
export async function openAnswerStore(folder: string): Promise<AnswerStore> {
  await mkdir(folder, { recursive: true, mode: 0o700 })
  const pathOf = (job: JobId) => join(folder, `${job}.json`)
  return {
    keep: async (job, answerRoot, pieces) => {
      await writeFile(`${pathOf(job)}.next`, JSON.stringify({ answerRoot, pieces }), {
        mode: 0o600,
        flush: true,
      })
      await rename(`${pathOf(job)}.next`, pathOf(job))
    },
    find: async (job, answerRoot) => {
      const text = await readFile(pathOf(job), 'utf8').catch(() => undefined)
      if (text === undefined) return undefined
      const answer = shelved.parse(JSON.parse(text))
      return answer.answerRoot === answerRoot ? answer.pieces.map(p => Buffer.from(p, 'base64')) : undefined
    },
    tidy: async now => {
      for (const name of await readdir(folder)) {
        const { mtimeMs } = await stat(join(folder, name))
        if (now - mtimeMs > KEEP_MS) await unlink(join(folder, name))
      }
    },
  }
}
