import { execFile } from 'node:child_process'
import { join } from 'node:path'
import { promisify } from 'node:util'
import { describe, expect, it } from 'vitest'

const MAIN = join(import.meta.dirname, '../../deploy/localnet/main.ts')
const run = promisify(execFile)

describe('the demonstration', () => {
  it('answers a wallet and an AO process, leaves the liar unpaid and every token accounted for', async () => {
    const { stdout } = await run(process.execPath, [MAIN, '--once', '--json'], { env: process.env })
    const lines = stdout.trimEnd().split('\n')
    const result = JSON.parse(lines.at(-1) ?? '')
    expect(result).toMatchObject({
      answer: 'a large natural stream of water (larger than a creek)',
      seats: 6,
      commitments: 6,
      reveals: 5,
      liarPaid: false,
      conserved: true,
      faultProven: true,
    })
    expect(result.jobId).toMatch(/^[\w-]{43}$/)
    expect(BigInt(result.paid)).toBeGreaterThan(0n)
    expect(BigInt(result.refunded)).toBeGreaterThan(0n)
    expect(result.coldMs).toBeGreaterThan(result.answerMs)
    const story = lines.slice(0, -1).join('\n')
    expect(story).toContain('85')
    expect(story).toContain('the liar was not paid')
    expect(story).toMatch(/proved liar wrong at prompt token \d+, in layer 1, operation qkv\.0/)
    expect(story).toMatch(/\d messages, \d+ bytes, the largest \d+; the proof checks offline in \d+ ms/)
  }, 300_000)
})
