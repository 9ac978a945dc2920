// Writes a journal until the operating system refuses, then says how that looked and what a restart finds.
import { randomBytes } from 'node:crypto'
import { errorCode } from '@apus/shared/kit'
import type { JobId } from '@apus/shared/protocol'
import { Journal } from '../../node/src/work/journal.ts'
import { openJournalFile } from '../../node/src/work/journal-file.ts'

const path = process.argv[2] as string
const journal = await Journal.open(await openJournalFile(path))
let written = 0
let code: string | undefined
while (code === undefined && written < 10_000) {
  const job = randomBytes(32).toString('base64url') as JobId
  await journal.attempt(job).then(
    () => written++,
    error => {
      code = errorCode(error)
    },
  )
}
const again = await Journal.open(await openJournalFile(path))
console.log(JSON.stringify({ code, full: journal.full, written, found: again.entries().length }))
