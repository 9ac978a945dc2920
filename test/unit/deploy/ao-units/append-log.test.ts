import { appendFileSync, mkdtempSync, readFileSync, rmSync, truncateSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import fc from 'fast-check'
import { afterEach, beforeEach, expect, test } from 'vitest'
import { AppendLog } from '../../../../deploy/ao-units/store/append-log.ts'

type Header = { readonly name: string }

let dir: string
let path: string
beforeEach(() => {
  dir = mkdtempSync(join(tmpdir(), 'apus-log-'))
  path = join(dir, 'log')
})
afterEach(() => rmSync(dir, { recursive: true }))

const entry = (name: string, body = name) => ({ header: { name }, body: Buffer.from(body) })

async function contents(): Promise<string[]> {
  const log = new AppendLog<Header>(path)
  const found: string[] = []
  log.replay((header, body, place) => {
    expect(log.read(place).equals(body)).toBe(true)
    found.push(`${header.name}:${Buffer.from(body)}`)
  })
  await log.close()
  return found
}

async function write(frames: ReadonlyArray<ReadonlyArray<ReturnType<typeof entry>>>): Promise<number[]> {
  const log = new AppendLog<Header>(path)
  log.replay(() => {})
  const ends = frames.map(frame => {
    const last = log.append(frame).at(-1)
    return last ? last.offset + last.bytes : 0
  })
  await log.durable()
  await log.close()
  return ends
}

test('what was appended is read back in order, over several openings', async () => {
  await write([[entry('a'), entry('b', '')], [entry('c', 'ö'.repeat(70_000))]])
  await write([[entry('d')]])
  expect(await contents()).toEqual(['a:a', 'b:', `c:${'ö'.repeat(70_000)}`, 'd:d'])
})

test('wherever the end is cut off, whole frames remain and the rest can be written again', async () => {
  const ends = await write([[entry('a'), entry('b')], [entry('c')], [entry('d'), entry('e')]])
  const whole = readFileSync(path)
  const names = [[], ['a:a', 'b:b'], ['a:a', 'b:b', 'c:c']]
  await fc.assert(
    fc.asyncProperty(fc.integer({ min: 0, max: whole.length - 1 }), async cut => {
      writeFileSync(path, whole)
      truncateSync(path, cut)
      expect(await contents()).toEqual(names[ends.filter(end => end <= cut).length])
      await write([[entry('again')]])
      expect((await contents()).at(-1)).toBe('again:again')
    }),
    { numRuns: 40 },
  )
})

test('a damaged frame ends the log, and what was cut off is kept beside it', async () => {
  const [first = 0] = await write([[entry('a')], [entry('b')]])
  const bytes = readFileSync(path)
  bytes[first + 12] = (bytes[first + 12] ?? 0) ^ 1
  writeFileSync(path, bytes)
  appendFileSync(path, 'garbage')
  expect(await contents()).toEqual(['a:a'])
  expect(readFileSync(`${path}.torn`).length).toBe(bytes.length - first + 'garbage'.length)
})

test('frames appended together are durable together', async () => {
  const log = new AppendLog<Header>(path)
  log.replay(() => {})
  const [place] = log.append([entry('a')])
  if (!place) throw new Error('nothing was appended')
  expect(log.holds(place)).toBe(false)
  const waits = [log.durable()]
  log.append([entry('b')])
  waits.push(log.durable(), log.durable())
  await Promise.all(waits)
  expect(log.holds(place)).toBe(true)
  await log.close()
})

test('a log that cannot be written accepts nothing more, and says so', async () => {
  const log = new AppendLog<Header>('/dev/full')
  expect(() => log.append([entry('a')])).toThrow(expect.objectContaining({ code: 'log-write-failed' }))
  expect(() => log.append([entry('b')])).toThrow(expect.objectContaining({ code: 'log-write-failed' }))
  await expect(log.durable()).rejects.toMatchObject({ code: 'log-write-failed' })
  await log.close()
})
