import { execFile } from 'node:child_process'
import { mkdtemp, readFile, rm, stat, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { promisify } from 'node:util'
import type { Digest, JobId } from '@apus/shared/protocol'
import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { type Computed, Journal } from '../../../../node/src/work/journal.ts'
import { openJournalFile } from '../../../../node/src/work/journal-file.ts'
import { idOf } from '../../../support/jobs.ts'
import { JournalDisk } from '../../../support/journal-disk.ts'

const computed = (): Computed => ({
  commitment: idOf<Digest>(),
  salt: idOf(),
  resultRoot: idOf<Digest>(),
  result: {
    promptTokens: idOf(),
    count: 2,
    finish: 'stop',
    tokenDigest: idOf<Digest>(),
    checkpointRoot: idOf(),
    kvRoot: idOf(),
    answerRoot: idOf<Digest>(),
  },
  tokens: 'AQAAAAIAAAA=',
  pieces: ['aGk=', ''],
})

const reopened = async (disk: JournalDisk): Promise<Journal> => Journal.open(disk.open())

describe('the journal', () => {
  it('remembers over restarts, in a real file that only its owner reads', async () => {
    const folder = await mkdtemp(join(tmpdir(), 'apus-journal-'))
    try {
      const path = join(folder, 'journal.log')
      const [job, over] = [idOf<JobId>(), idOf<JobId>()]
      const result = computed()
      const first = await Journal.open(await openJournalFile(path))
      await Promise.all([first.attempt(job), first.attempt(over)])
      await first.computed(job, result)
      await first.committed(job, 5)
      await first.over(over)
      await first.close()
      expect((await stat(path)).mode & 0o777).toBe(0o600)
      await writeFile(path, '0123456789abcdef {"what":"reve', { flag: 'a' })

      const second = await Journal.open(await openJournalFile(path))
      const expected = { job, attempts: 0, computed: result, commitment: result.commitment, committedAt: 5 }
      expect(second.entries()).toEqual([expected])
      await second.revealed(job, 6)
      await second.close()
      expect((await readFile(path, 'utf8')).endsWith('}]\n')).toBe(true)
      const third = await Journal.open(await openJournalFile(path))
      expect(third.get(job)).toEqual({ ...expected, revealedAt: 6 })
      await third.close()
    } finally {
      await rm(folder, { recursive: true })
    }
  })

  it('fixes the first commitment of a job for ever', async () => {
    const disk = new JournalDisk()
    const journal = await reopened(disk)
    const job = idOf<JobId>()
    const first = computed()
    await journal.computed(job, first)
    await journal.computed(job, first)
    await expect(journal.computed(job, computed())).rejects.toMatchObject({ code: 'commitment-fixed' })
    const again = await reopened(disk)
    await expect(again.computed(job, computed())).rejects.toMatchObject({ code: 'commitment-fixed' })
    expect(again.get(job)?.commitment).toBe(first.commitment)
  })

  it('says that the disk is full, remembers nothing it could not write, and goes on when there is room', async () => {
    const disk = new JournalDisk()
    const journal = await reopened(disk)
    const [a, b] = [idOf<JobId>(), idOf<JobId>()]
    await journal.attempt(a)
    disk.full = true
    await expect(journal.computed(b, computed())).rejects.toMatchObject({ code: 'journal-full', retry: true })
    expect([journal.full, journal.get(b), await journal.probe()]).toEqual([true, undefined, false])
    disk.full = false
    expect(await journal.probe()).toBe(true)
    await journal.attempt(b)
    expect((await reopened(disk)).entries()).toEqual(journal.entries())
  })

  it('meets a real limit of the operating system: a clear code, and every record that was acknowledged', async () => {
    const folder = await mkdtemp(join(tmpdir(), 'apus-journal-'))
    try {
      const script = fileURLToPath(new URL('../../../support/fill-journal.ts', import.meta.url))
      const command = `ulimit -f 4 && exec "${process.execPath}" "${script}" "${join(folder, 'journal.log')}"`
      const { stdout } = await promisify(execFile)('bash', ['-c', command])
      const { code, full, written, found } = JSON.parse(stdout)
      expect([code, full]).toEqual(['journal-full', true])
      expect(written).toBeGreaterThan(10)
      expect(found).toBe(written)
    } finally {
      await rm(folder, { recursive: true })
    }
  })

  it('refuses a damaged record that others follow', async () => {
    const disk = new JournalDisk()
    const journal = await reopened(disk)
    for (let i = 0; i < 3; i++) await journal.attempt(idOf<JobId>())
    disk.bytes[30] = (disk.bytes[30] as number) ^ 1
    await expect(reopened(disk)).rejects.toMatchObject({ code: 'journal-damaged' })
  })

  it('writes records that arrive together with one sync', async () => {
    const disk = new JournalDisk()
    const journal = await reopened(disk)
    await Promise.all(Array.from({ length: 100 }, () => journal.attempt(idOf<JobId>())))
    expect(disk.appends).toBeLessThanOrEqual(2)
    expect((await reopened(disk)).entries()).toHaveLength(100)
  })

  it('is rewritten with the live jobs only once it is large', async () => {
    const disk = new JournalDisk()
    const journal = await reopened(disk)
    const large = { ...computed(), pieces: ['A'.repeat(1024 * 1024)] }
    const jobs = Array.from({ length: 9 }, () => idOf<JobId>())
    for (const job of jobs.slice(0, 8)) {
      await journal.computed(job, large)
      await journal.over(job)
    }
    await journal.computed(jobs[8] as JobId, large)
    expect(journal.bytes).toBeLessThan(4 * 1024 * 1024)
    expect((await reopened(disk)).entries()).toEqual(journal.entries())
    expect(journal.entries().map(e => e.job)).toEqual(jobs.slice(8))
  })

  it('keeps every record whose promise resolved, wherever the log is cut', async () => {
    const disk = new JournalDisk()
    const journal = await reopened(disk)
    const job = idOf<JobId>()
    const states: { readonly size: number; readonly entry: unknown }[] = [{ size: 0, entry: undefined }]
    const noted = () => states.push({ size: disk.bytes.length, entry: journal.get(job) })
    for (const write of [
      () => journal.attempt(job),
      () => journal.released(job),
      () => journal.attempt(job),
      () => journal.computed(job, computed()),
      () => journal.committed(job, 1),
      () => journal.revealed(job, 2),
      () => journal.giveUp(job, 'x'),
      () => journal.over(job),
    ]) {
      await write()
      noted()
    }
    const whole = disk.bytes
    await fc.assert(
      fc.asyncProperty(fc.nat(whole.length), async cut => {
        disk.bytes = whole.slice(0, cut)
        const expected = states.findLast(s => s.size <= cut)?.entry
        expect((await reopened(disk)).get(job)).toEqual(expected)
      }),
      { numRuns: 300 },
    )
  })
})
