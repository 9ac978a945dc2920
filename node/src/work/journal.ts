import { createHash } from 'node:crypto'
import { ApusError } from '@apus/shared/kit'
import { type Digest, digestText, id32, type JobId, jobId, type Result } from '@apus/shared/protocol'
import { z } from 'zod'
import type { JournalFile } from './journal-file.ts'
import type { Recorded } from './next-step.ts'

/** A log mostly of finished jobs is rewritten with the live ones only. */
const COMPACT_ABOVE_BYTES = 8 * 1024 * 1024
const CHECK_CHARS = 16
const NO_JOB = 'A'.repeat(43) as JobId

const FULL = new Set(['ENOSPC', 'EDQUOT', 'EFBIG', 'EROFS'])

const computedSchema = z.object({
  commitment: digestText,
  salt: z.string(),
  resultRoot: digestText,
  result: z.object({
    promptTokens: id32,
    count: z.int(),
    finish: z.enum(['stop', 'length']),
    tokenDigest: digestText,
    checkpointRoot: id32,
    kvRoot: id32,
    answerRoot: digestText,
  }),
  /** The chosen tokens as a reveal carries them, base64. */
  tokens: z.base64(),
  /** The answer's pieces, base64. */
  pieces: z.array(z.string()),
})

const recordSchema = z.discriminatedUnion('what', [
  z.object({ what: z.literal('attempt'), job: jobId }),
  z.object({ what: z.literal('released'), job: jobId }),
  z.object({ what: z.literal('computed'), job: jobId, computed: computedSchema }),
  z.object({ what: z.literal('committed'), job: jobId, at: z.int() }),
  z.object({ what: z.literal('revealed'), job: jobId, at: z.int() }),
  z.object({ what: z.literal('given-up'), job: jobId, code: z.string() }),
  z.object({ what: z.literal('over'), job: jobId }),
])

type JournalRecord = z.infer<typeof recordSchema>

/** A result with everything needed to open its commitment. */
export type Computed = Readonly<z.infer<typeof computedSchema>> & {
  readonly result: Result & { answerRoot: Digest }
}

export interface JournalEntry extends Recorded {
  readonly job: JobId
  readonly computed?: Computed
}

interface Queued {
  readonly record: JournalRecord
  resolve(): void
  reject(error: unknown): void
}

/**
 * The miner's memory of its jobs: a log of checked lines, each on the disk before its promises resolve. An append log
 * rather than a database, because a full disk then fails one write, visibly, and a torn end is found and cut off.
 */
export class Journal {
  readonly #file: JournalFile
  readonly #entries: Map<JobId, JournalEntry>
  #bytes: number
  #queue: Queued[] = []
  #writing: Promise<void> | undefined
  #full = false
  #compactAbove = COMPACT_ABOVE_BYTES

  private constructor(file: JournalFile, entries: Map<JobId, JournalEntry>, bytes: number) {
    this.#file = file
    this.#entries = entries
    this.#bytes = bytes
  }

  /** Errors: `journal-damaged` when a record before the last is not what was written. */
  static async open(file: JournalFile): Promise<Journal> {
    const bytes = Buffer.from(await file.read())
    const entries = new Map<JobId, JournalEntry>()
    let good = 0
    for (let line = 1; good < bytes.length; line++) {
      const end = bytes.indexOf('\n', good)
      const records = end < 0 ? undefined : parseLine(bytes.toString('utf8', good, end))
      if (records === undefined) {
        // The last line alone may be half written: whoever waited for its records never got an answer.
        if (end >= 0 && end < bytes.length - 1)
          throw new ApusError('journal-damaged', `Line ${line} of the journal is damaged.`)
        await file.truncate(good)
        break
      }
      for (const record of records) applyRecord(entries, record)
      good = end + 1
    }
    return new Journal(file, entries, good)
  }

  get bytes(): number {
    return this.#bytes
  }

  /** True after a write found the disk full, until one succeeds again. */
  get full(): boolean {
    return this.#full
  }

  get(job: JobId): JournalEntry | undefined {
    return this.#entries.get(job)
  }

  entries(): JournalEntry[] {
    return [...this.#entries.values()]
  }

  /** Notes that a run begins, so that one which ends the process is not begun for ever. Errors: `journal-full`. */
  attempt = (job: JobId): Promise<void> => this.#write({ what: 'attempt', job })

  /** Takes an attempt back: the run was stopped on purpose. */
  released = (job: JobId): Promise<void> => this.#write({ what: 'released', job })

  /** Fixes the one commitment of a job. Errors: `journal-full`, `commitment-fixed` when another one was fixed before. */
  async computed(job: JobId, computed: Computed): Promise<void> {
    const before = this.#entries.get(job)?.computed
    if (before !== undefined && before.commitment !== computed.commitment)
      throw new ApusError('commitment-fixed', 'Another commitment was recorded for this job.')
    if (before === undefined) await this.#write({ what: 'computed', job, computed })
  }

  committed = (job: JobId, at: number): Promise<void> => this.#write({ what: 'committed', job, at })
  revealed = (job: JobId, at: number): Promise<void> => this.#write({ what: 'revealed', job, at })
  giveUp = (job: JobId, code: string): Promise<void> => this.#write({ what: 'given-up', job, code })

  /** Forgets a job that is over. */
  async over(job: JobId): Promise<void> {
    if (this.#entries.has(job)) await this.#write({ what: 'over', job })
  }

  /** Tries whether a full disk has room again, by forgetting a job that never was. */
  async probe(): Promise<boolean> {
    if (this.#full) await this.#write({ what: 'over', job: NO_JOB }).catch(() => {})
    return !this.#full
  }

  async close(): Promise<void> {
    await this.#writing
    await this.#file.close()
  }

  #write(record: JournalRecord): Promise<void> {
    return new Promise((resolve, reject) => {
      this.#queue.push({ record, resolve, reject })
      this.#writing ??= this.#flush()
    })
  }

  // Records that came while the disk was busy share the next sync.
  async #flush(): Promise<void> {
    while (this.#queue.length > 0) {
      const batch = this.#queue
      this.#queue = []
      const bytes = Buffer.from(lineOf(batch.map(q => q.record)))
      try {
        await this.#file.append(bytes)
        this.#full = false
        this.#bytes += bytes.length
        for (const { record, resolve } of batch) {
          applyRecord(this.#entries, record)
          resolve()
        }
        if (this.#bytes > this.#compactAbove) await this.#compact().catch(() => {})
      } catch (cause) {
        const error = this.#writeError(cause)
        for (const { reject } of batch) reject(error)
      }
    }
    // Not a turn later: a record that comes meanwhile would wait for a flush that is over.
    this.#writing = undefined
  }

  async #compact(): Promise<void> {
    const bytes = Buffer.from([...this.#entries.values()].map(e => lineOf(recordsOf(e))).join(''))
    try {
      await this.#file.replace(bytes)
      this.#bytes = bytes.length
      this.#full = false
      // Twice what is live, or a journal of many live jobs would be rewritten with every record.
      this.#compactAbove = Math.max(COMPACT_ABOVE_BYTES, 2 * bytes.length)
    } catch (cause) {
      throw this.#writeError(cause)
    }
  }

  #writeError(cause: unknown): ApusError {
    this.#full = FULL.has((cause as NodeJS.ErrnoException).code ?? '')
    return this.#full
      ? new ApusError(
          'journal-full',
          'The disk has no room for the journal; the miner commits to nothing until it can be written.',
          {
            retry: true,
            cause,
          },
        )
      : new ApusError('journal-failed', 'The journal could not be written.', { retry: true, cause })
  }
}

const checkOf = (json: string): string =>
  createHash('sha256').update(json).digest('hex').slice(0, CHECK_CHARS)

function lineOf(records: readonly JournalRecord[]): string {
  const json = JSON.stringify(records)
  return `${checkOf(json)} ${json}\n`
}

function parseLine(line: string): JournalRecord[] | undefined {
  const json = line.slice(CHECK_CHARS + 1)
  if (line.slice(0, CHECK_CHARS) !== checkOf(json)) return undefined
  return z.array(recordSchema).parse(JSON.parse(json))
}

function applyRecord(entries: Map<JobId, JournalEntry>, record: JournalRecord): void {
  const entry = entries.get(record.job) ?? { job: record.job, attempts: 0 }
  switch (record.what) {
    case 'attempt':
      entries.set(record.job, { ...entry, attempts: entry.attempts + 1 })
      return
    case 'released':
      entries.set(record.job, { ...entry, attempts: Math.max(0, entry.attempts - 1) })
      return
    case 'computed': {
      const { computed } = record
      entries.set(record.job, { ...entry, attempts: 0, computed, commitment: computed.commitment })
      return
    }
    case 'committed':
      entries.set(record.job, { ...entry, committedAt: record.at })
      return
    case 'revealed':
      entries.set(record.job, { ...entry, revealedAt: record.at })
      return
    case 'given-up':
      entries.set(record.job, { ...entry, givenUp: record.code })
      return
    case 'over':
      entries.delete(record.job)
  }
}

function recordsOf(entry: JournalEntry): JournalRecord[] {
  const { job, attempts, computed, committedAt, revealedAt, givenUp } = entry
  const records: JournalRecord[] = []
  if (computed !== undefined) records.push({ what: 'computed', job, computed })
  for (let i = 0; i < attempts; i++) records.push({ what: 'attempt', job })
  if (committedAt !== undefined) records.push({ what: 'committed', job, at: committedAt })
  if (revealedAt !== undefined) records.push({ what: 'revealed', job, at: revealedAt })
  if (givenUp !== undefined) records.push({ what: 'given-up', job, code: givenUp })
  return records
}
