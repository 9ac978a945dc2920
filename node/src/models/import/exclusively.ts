import { mkdir } from 'node:fs/promises'
import { dirname } from 'node:path'
import { ApusError } from '@apus/shared/kit'
import { hold } from '../../home/lock.ts'

/** Runs a task while nobody else does who asks for the same lock. Errors: `import-busy`, those of the task. */
export async function exclusively<T>(lock: string, task: () => Promise<T>): Promise<T> {
  await mkdir(dirname(lock), { recursive: true })
  const release = await hold(lock)
  if (release === undefined)
    throw new ApusError('import-busy', 'The same model is being imported already.', { retry: true })
  try {
    return await task()
  } finally {
    await release()
  }
}
