import { mkdir, open, rename, rm, stat, utimes } from 'node:fs/promises'
import { dirname } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { ApusError } from '@apus/shared'

/** How often the holder of a lock shows that it lives. */
const BEAT_MS = 500
/** Beats that a holder may miss, on a machine that is busy or asleep, before it counts as dead. */
const MISSED_BEATS = 10

/**
 * Runs a task while no other process that asks for the same lock file does. A lock whose holder died is taken over after some
 * seconds. Errors: `import-busy`, those of the task.
 */
export async function alone<T>(lock: string, task: () => Promise<T>, beatMs = BEAT_MS): Promise<T> {
  await mkdir(dirname(lock), { recursive: true })
  while (!(await create(lock))) await outwait(lock, beatMs)
  const beat = setInterval(() => {
    const now = new Date()
    utimes(lock, now, now).catch(() => {})
  }, beatMs)
  try {
    return await task()
  } finally {
    clearInterval(beat)
    await rm(lock, { force: true })
  }
}

/** Returns when the lock is gone, removing that of a dead holder. Errors: `import-busy`. */
async function outwait(lock: string, beatMs: number): Promise<void> {
  const seen = await beatOf(lock)
  for (let missed = 0; missed < MISSED_BEATS; missed++) {
    await sleep(beatMs)
    const now = await beatOf(lock)
    if (now === undefined) return
    if (now !== seen)
      throw new ApusError('import-busy', 'The same model is being imported by another process.', {
        retry: true,
      })
  }
  // Of several that wait, one renames the dead holder's file.
  const dead = `${lock}-${process.pid}-${performance.now()}`
  await rename(lock, dead).catch(() => {})
  await rm(dead, { force: true })
}

async function create(lock: string): Promise<boolean> {
  try {
    await (await open(lock, 'wx')).close()
    return true
  } catch (cause) {
    if (cause instanceof Error && 'code' in cause && cause.code === 'EEXIST') return false
    throw cause
  }
}

/** When the holder was last seen; undefined when there is none any more. */
const beatOf = (lock: string): Promise<number | undefined> =>
  stat(lock).then(
    found => found.mtimeMs,
    () => undefined,
  )
