import { randomBytes } from 'node:crypto'
import { readFile } from 'node:fs/promises'
import { digest, merkleLeaf, merkleRoot, toBase64Url } from '@apus/shared/hashing'
import { type Address, commitmentOf, type JobId, type ProcessId, resultRoot } from '@apus/shared/protocol'
import fc from 'fast-check'
import { beforeAll, describe, expect, it } from 'vitest'
import { sha256 } from '../../shared/src/hashing/digest.ts'
import { settingsDigest } from '../../shared/src/protocol/job.ts'
import { samplerSettings } from '../../shared/src/protocol/sampler.ts'
import { drawSeats, seatSeed } from '../../shared/src/protocol/seat.ts'
import { loadInAos, luaText } from '../support/lua-modules.ts'

interface Vectors {
  readonly seats: readonly {
    readonly hashChain: string
    readonly job: string
    readonly round: number
    readonly candidates: readonly { readonly miner: string; readonly weight: number }[]
    readonly count: number
    readonly drawn: readonly string[]
  }[]
  readonly digests: readonly { readonly fields: readonly string[]; readonly digest: string }[]
  readonly merkle: readonly {
    readonly domain: string
    readonly leaves: readonly string[]
    readonly root: string
  }[]
  readonly results: readonly {
    readonly network: string
    readonly job: Record<string, unknown>
    readonly result: Record<string, unknown>
    readonly miner: string
    readonly salt: string
    readonly root: string
    readonly commitment: string
  }[]
}

const vectors: Promise<Vectors> = readFile(
  new URL('../vectors/protocol/twins.json', import.meta.url),
  'utf8',
).then(text => JSON.parse(text) as Vectors)

let run: (code: string) => Promise<string>
beforeAll(async () => {
  const names = ['codec.digest', 'codec.merkle', 'jobs.seats', 'jobs.results', 'jobs.request', 'jobs.audit']
  ;({ run } = await loadInAos(names, "{ token = 'token' }"))
})

const luaDigest = (fields: readonly string[]) =>
  run(`return require('apus.codec.digest').of(${fields.map(luaText).join(',')})`)
const luaRoot = (domain: string, leaves: readonly Uint8Array[]) =>
  run(`local m, l = require('apus.codec.merkle'), {}
    for _, bytes in ipairs({${leaves.map(luaText).join(',')}}) do l[#l + 1] = m.leaf(${luaText(domain)}, bytes) end
    return m.root(l)`)
const luaDraw = (seed: string, candidates: readonly { miner: string; weight: number }[], count: number) => {
  const sorted = [...candidates].sort((a, b) => (a.miner < b.miner ? -1 : 1))
  return run(`return table.concat(require('apus.jobs.seats').draw(${luaText(seed)},
    {${sorted.map(c => luaText(c.miner)).join(',')}}, {${sorted.map(c => c.weight).join(',')}}, ${count}), ' ')`)
}

describe('Lua and TypeScript agree', () => {
  it('on the recorded vectors', async () => {
    const { seats, digests, merkle, results } = await vectors
    for (const v of digests) {
      expect(digest(v.fields[0] ?? '', ...v.fields.slice(1))).toBe(v.digest)
      expect(await luaDigest(v.fields)).toBe(v.digest)
    }
    for (const v of merkle) {
      const leaves = v.leaves.map(leaf => Buffer.from(leaf, 'base64'))
      expect(toBase64Url(merkleRoot(leaves.map(leaf => merkleLeaf(v.domain, leaf))))).toBe(v.root)
      expect(await luaRoot(v.domain, leaves)).toBe(v.root)
    }
    for (const v of seats) {
      const candidates = v.candidates.map(c => ({ miner: c.miner as Address, weight: c.weight }))
      const seed = seatSeed(v.hashChain, v.job as JobId, v.round)
      expect(drawSeats(seed, candidates, v.count)).toEqual(v.drawn)
      expect(
        await run(`return require('apus.jobs.seats').seed('${v.hashChain}', '${v.job}', ${v.round})`),
      ).toBe(seed)
      expect(await luaDraw(seed, candidates, v.count)).toBe(v.drawn.join(' '))
    }
    for (const v of results) {
      const job = v.job as unknown as Parameters<typeof resultRoot>[1]
      const result = v.result as unknown as Parameters<typeof resultRoot>[2]
      const root = resultRoot(v.network as ProcessId, job, result)
      expect(root).toBe(v.root)
      expect(commitmentOf(v.network as ProcessId, job.id, v.miner as Address, v.salt, root)).toBe(
        v.commitment,
      )
      const lua = await run(`
        local results, state = require('apus.jobs.results'), require('apus.state.state')
        state.network = '${v.network}'
        local job = { id = '${job.id}', class = '${job.class}', model = '${job.model}', settings = '${settingsDigest(job)}' }
        local root = results.root(job, '${result.promptTokens}', { count = ${result.count}, finish = '${result.finish}',
          tokenDigest = '${result.tokenDigest}',
          checkpointRoot = '${result.checkpointRoot}', kvRoot = '${result.kvRoot}', answerRoot = '${result.answerRoot}' })
        return root .. ' ' .. results.commitment(job, '${v.miner}', '${v.salt}', root)`)
      expect(lua).toBe(`${v.root} ${v.commitment}`)
    }
  })

  it('on SHA-256 of every length around its block', async () => {
    const bytes = randomBytes(200)
    const lengths = [0, 1, 54, 55, 56, 57, 63, 64, 65, 119, 120, 121, 128, 200]
    const code = `local d, e, out, s = require('apus.codec.digest'), require('apus.codec.encoding'), {}, ${luaText(bytes)}
      for _, n in ipairs({${lengths.join(',')}}) do out[#out + 1] = e.toBase64Url(d.sha256(s:sub(1, n))) end
      return table.concat(out, ' ')`
    const wanted = lengths.map(n => toBase64Url(sha256(bytes.subarray(0, n)))).join(' ')
    expect(await run(code)).toBe(wanted)
  })

  it('on any draw', async () => {
    const candidate = fc.record({
      miner: fc.stringMatching(/^[A-Za-z0-9_-]{43}$/),
      weight: fc.integer({ min: 1, max: 2 ** 31 - 1 }),
    })
    const candidates = fc.uniqueArray(candidate, { selector: c => c.miner, maxLength: 40 })
    await fc.assert(
      fc.asyncProperty(
        candidates,
        fc.string(),
        fc.integer({ min: 0, max: 12 }),
        async (list, seed, count) => {
          const named = list.map(c => ({ miner: c.miner as Address, weight: c.weight }))
          expect(await luaDraw(seed, named, count)).toBe(drawSeats(seed, named, count).join(' '))
        },
      ),
      { numRuns: 60, seed: 7 },
    )
  })

  it('on base64, whose every text has one meaning', async () => {
    await fc.assert(
      fc.asyncProperty(fc.uint8Array({ maxLength: 40 }), async bytes => {
        const url = toBase64Url(bytes)
        const padded = Buffer.from(bytes).toString('base64')
        const out = await run(`local e, s = require('apus.codec.encoding'), ${luaText(bytes)}
          return tostring(e.toBase64Url(s) == '${url}' and e.fromBase64Url('${url}') == s and e.fromBase64('${padded}') == s)`)
        expect(out).toContain('true')
      }),
      { numRuns: 60, seed: 7 },
    )
    for (const text of ['A', 'AB', 'AAB', 'A A=', 'AA=A', '====', 'AB==', 'AAB=', 'AA', '*AAA']) {
      const out = await run(`return tostring(require('apus.codec.encoding').fromBase64('${text}'))`)
      expect(out, text).toContain('nil')
    }
  })

  it('on text with broken characters', async () => {
    const broken = Uint8Array.of(0x61, 0xff, 0xc3, 0xa9, 0xe2, 0x82, 0x62, 0xf0, 0x9f, 0x98, 0x80)
    expect(await run(`return require('apus.codec.encoding').toUtf8(${luaText(broken)})`)).toBe(
      'a\uFFFDé\uFFFD\uFFFDb😀',
    )
    expect(await run(`return require('apus.codec.encoding').utf16Length('a😀é')`)).toContain('4')
  })

  it('on the settings of any sampler and any stop strings', async () => {
    const q16 = fc.integer({ min: 65_536, max: 262_144 })
    const penalty = fc.integer({ min: -131_072, max: 131_072 })
    const sampler = fc.record(
      {
        temperature: fc.oneof(fc.constant(0), fc.integer({ min: 655, max: 262_144 })),
        topK: fc.integer({ min: 0, max: 1024 }),
        topP: fc.integer({ min: 1, max: 65_536 }),
        repeatPenalty: q16,
        frequencyPenalty: penalty,
        presencePenalty: penalty,
        penaltyWindow: fc.integer({ min: 0, max: 64 }),
        seed: fc.integer({ min: 0, max: 0xffff_ffff }),
      },
      { requiredKeys: [] },
    )
    const stop = fc.array(
      fc.string({ minLength: 1, maxLength: 64, unit: 'grapheme' }).filter(s => s.length <= 64),
      { maxLength: 4 },
    )
    await run(`require('apus.state.state').models['${'m'.repeat(43)}'] = { id = 'm', class = 'c', verifiable = true, maxContext = 99,
      basePrice = require('apus.codec.amount').of(1), tokenPrice = require('apus.codec.amount').of(1) } return ''`)
    await fc.assert(
      fc.asyncProperty(sampler, stop, async (given, stops) => {
        const tags = {
          Model: 'm'.repeat(43),
          'Max-Tokens': '7',
          Sampler: JSON.stringify(given),
          Stop: JSON.stringify(stops),
        }
        const read = Object.entries(tags).map(([k, v]) => `['${k}'] = ${luaText(v)}`)
        const lua = await run(`return require('apus.jobs.request').read({${read.join(',')}}, 'hi').settings`)
        expect(lua).toBe(settingsDigest({ sampler: samplerSettings.parse(given), stop: stops, maxTokens: 7 }))
      }),
      { numRuns: 60, seed: 7 },
    )
  })

  it('on the chance of an audit: certain for newcomers, falling with standing, never under the floor', async () => {
    const chance = async (standing: number) =>
      Number(
        (
          await run(`local a = require('apus.codec.amount')
        return require('apus.jobs.audit').chance(${standing}, a.of(1000), a.of(25000))`)
        ).replace(/\D*\[\d+m/g, ''),
      )
    expect([await chance(0), await chance(3), await chance(4), await chance(8)]).toEqual([1e6, 1e6, 1e6, 5e5])
    // saving / (honest × (price + bond)) = 1000 / (2/3 × 26000)
    expect(await chance(10_000)).toBe(Math.ceil(1e9 / 17_333))
  })
})
