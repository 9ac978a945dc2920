import { readFileSync } from 'node:fs'
import { mkdtemp, rm, stat, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { applyPatches, readState } from '@apus/shared/ao'
import {
  loadWallet,
  parseDataItem,
  saveWallet,
  signDataItemSync,
  verifyDataItem,
  walletOf,
} from '@apus/shared/arweave'
import { DataItem } from 'arbundles'
import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { cronSchedules } from '../../../../deploy/ao-units/messages/cron.ts'
import { nextChain } from '../../../../deploy/ao-units/messages/schedule.ts'
import { openUnitKey } from '../../../../deploy/ao-units/messages/unit-key.ts'
import { byteRange } from '../../../../deploy/ao-units/routes/byte-range.ts'
import { ByteCache } from '../../../../deploy/ao-units/store/byte-cache.ts'
import type { AoResultPage } from '../../../../shared/src/ao/ao-client.ts'
import { watchProcess } from '../../../../shared/src/ao/watch-process.ts'
import { signDataItem } from '../../../../shared/src/arweave/data-item.ts'
import { walletAddress } from '../../../../shared/src/arweave/wallet.ts'
import { testWallet } from '../../../support/ao-units.ts'

const patch = (tags: Record<string, unknown>) => ({
  Tags: Object.entries({ device: 'patch@1.0', ...tags }).map(([name, value]) => ({ name, value })),
})

describe('published state', () => {
  test('maps are merged, other values replaced, other messages ignored', () => {
    const state = applyPatches({}, [
      patch({ jobs: { a: { state: 'new', n: 1 }, b: 'x' }, total: '1', Type: 'Message', Reference: '3' }),
      { Tags: [{ name: 'total', value: '9' }] },
      patch({ jobs: { a: { state: 'done' } }, total: '2' }),
      patch({ jobs: [] }),
    ])
    expect(state).toEqual({ jobs: { a: { state: 'done', n: 1 }, b: 'x' }, total: '2' })
    expect(readState(state, ['jobs', 'A', 'STATE'])).toBe('done')
    expect(readState({ list: ['x', 'y'] }, ['list', '2'])).toBe('y')
    expect(readState(state, ['jobs', 'c', 'state'])).toBeUndefined()
  })

  test('no key reaches into the prototype', () => {
    const state = applyPatches({}, [patch(JSON.parse('{"a": {"__proto__": {"polluted": "yes"}}}'))])
    expect(({} as Record<string, unknown>).polluted).toBeUndefined()
    expect(readState(state, ['constructor', 'name'])).toBeUndefined()
    expect(readState(applyPatches(state, [patch({ a: { b: '1' } })]), ['a', 'b'])).toBe('1')
  })
})

describe('data items', () => {
  test('are read as arbundles reads them, whoever signs', async () => {
    const wallet = await testWallet()
    const dir = await mkdtemp(join(tmpdir(), 'apus-key-'))
    const unit = openUnitKey(join(dir, 'key.json'))
    await fc.assert(
      fc.asyncProperty(
        fc.record({
          data: fc.uint8Array({ maxLength: 300 }),
          tags: fc.array(
            fc.record({
              name: fc.string({ minLength: 1, maxLength: 40 }),
              value: fc.string({ minLength: 1, maxLength: 60 }),
            }),
            { maxLength: 8 },
          ),
          target: fc.option(fc.constant(wallet.address), { nil: undefined }),
          anchor: fc.option(fc.stringMatching(/^[a-z0-9]{32}$/), { nil: undefined }),
        }),
        async fields => {
          const tags = fields.tags.map(({ name, value }) => ({
            name: name.toWellFormed(),
            value: value.toWellFormed(),
          }))
          for (const signed of [
            await signDataItem({ ...fields, tags }, wallet),
            signDataItemSync({ ...fields, tags }, unit),
          ]) {
            expect(await DataItem.verify(Buffer.from(signed.raw))).toBe(true)
            const parsed = parseDataItem(signed.raw)
            expect(await verifyDataItem(parsed)).toBe(true)
            expect(parsed).toMatchObject({
              id: signed.id,
              tags,
              target: fields.target ?? '',
              anchor: fields.anchor ?? '',
            })
            expect(Buffer.from(parsed.data).equals(fields.data)).toBe(true)
          }
        },
      ),
      { numRuns: 15 },
    )
    await rm(dir, { recursive: true })
  })

  test('anything else is refused by a code and never crashes', () => {
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 1_200 }), bytes => {
        try {
          parseDataItem(bytes)
        } catch (error) {
          expect(error).toMatchObject({ code: 'data-item-invalid' })
        }
      }),
    )
  })
})

describe('wallets', () => {
  test('are saved for their owner alone, never over another, and load again', async () => {
    const wallet = await testWallet()
    const dir = await mkdtemp(join(tmpdir(), 'apus-wallet-'))
    const path = join(dir, 'wallet.json')
    await saveWallet(wallet, path)
    expect((await stat(path)).mode & 0o777).toBe(0o600)
    expect((await loadWallet(path)).address).toBe(wallet.address)
    expect(walletAddress(JSON.parse(readFileSync(path, 'utf8')))).toBe(wallet.address)
    await expect(saveWallet(wallet, path)).rejects.toMatchObject({ code: 'wallet-exists' })
    await expect(loadWallet(join(dir, 'none.json'))).rejects.toMatchObject({ code: 'wallet-missing' })
    await writeFile(path, 'not json')
    await expect(loadWallet(path)).rejects.toMatchObject({ code: 'wallet-invalid' })
    await rm(dir, { recursive: true })
  })

  test('anything else is refused, and no part of a key is ever printed', async () => {
    const wallet = await testWallet()
    const jwk = wallet.jwk.reveal()
    for (const wrong of [
      null,
      {},
      { ...jwk, d: undefined },
      { ...jwk, kty: 'EC' },
      { ...jwk, n: jwk.n.slice(4) },
      { ...jwk, n: jwk.p },
      { ...jwk, d: jwk.dp, p: jwk.q },
    ])
      expect(() => walletOf(wrong)).toThrow(expect.objectContaining({ code: 'wallet-invalid' }))
    const { inspect } = await import('node:util')
    expect(inspect(wallet, { depth: 9 }) + JSON.stringify(wallet)).not.toContain(jwk.d.slice(0, 20))
  })
})

test('the chain over assignments depends on each of them', () => {
  const first = nextChain(undefined)
  const second = nextChain({ chain: first, assignment: 'AAAA' })
  expect(second).toMatch(/^[A-Za-z0-9_-]{43}$/)
  expect(nextChain({ chain: first, assignment: 'AAAB' })).not.toBe(second)
  expect(nextChain({ chain: second, assignment: 'AAAA' })).not.toBe(second)
})

test('cron schedules are read as AO reads them', () => {
  const tags = [
    ['Cron-Tag-Lost', 'x'],
    ['Cron-Interval', '5-minutes'],
    ['Cron-Tag-Action', 'Tick'],
    ['Cron-Interval', '100-milliseconds'],
    ['Cron-Interval', '1-block'],
    ['Cron-Interval', 'nonsense'],
  ].map(([name = '', value = '']) => ({ name, value }))
  expect(cronSchedules(tags)).toEqual([
    { intervalMs: 300_000, tags: [{ name: 'Action', value: 'Tick' }] },
    { intervalMs: 120_000, tags: [] },
  ])
})

test('ranges of bytes', () => {
  expect(byteRange(undefined, 10)).toBeUndefined()
  expect(byteRange('bytes=0-0', 10)).toEqual({ first: 0, last: 0 })
  expect(byteRange('bytes=-99', 10)).toEqual({ first: 0, last: 9 })
  expect(() => byteRange('bytes=10-', 10)).toThrow(expect.objectContaining({ code: 'range-invalid' }))
  expect(() => byteRange('bytes=-0', 10)).toThrow(expect.objectContaining({ code: 'range-invalid' }))
})

test('a cache keeps what was used last, up to its size', () => {
  const cache = new ByteCache<string>(10)
  for (const key of ['a', 'b', 'c']) cache.set(key, key, 4)
  expect([cache.get('a'), cache.get('b'), cache.get('c')]).toEqual([undefined, 'b', 'c'])
  cache.get('b')
  cache.set('d', 'd', 4)
  expect([cache.get('c'), cache.get('b')]).toEqual([undefined, 'b'])
  cache.set('large', 'large', 99)
  expect(cache.get('large')).toBe('large')
})

test('a watcher survives failures, repeats nothing and ends with its signal', async () => {
  const edge = (number: number) => ({
    cursor: String(number),
    result: { output: number, messages: [], spawns: [], assignments: [] },
  })
  const answers: Array<AoResultPage | Error> = [
    { edges: [edge(1), edge(2)], more: true },
    new Error('away'),
    { edges: [], more: false },
    { edges: [edge(3)], more: false },
  ]
  const asked: Array<string | undefined> = []
  const client = {
    results: async (_: string, options: { after?: string | undefined } = {}) => {
      asked.push(options.after)
      const answer = answers.shift() ?? { edges: [], more: false }
      if (answer instanceof Error) throw answer
      return answer
    },
  }
  const stop = new AbortController()
  const errors: unknown[] = []
  const seen: unknown[] = []
  const options = {
    after: '0',
    pollMs: 1,
    signal: stop.signal,
    onError: (error: unknown) => errors.push(error),
  }
  for await (const { result } of watchProcess(client, 'process', options)) {
    seen.push(result.output)
    if (result.output === 3) stop.abort()
  }
  expect(seen).toEqual([1, 2, 3])
  expect(errors).toHaveLength(1)
  expect(asked).toEqual(['0', '2', '2', '2'])
})
