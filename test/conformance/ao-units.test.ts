import type { AoClient } from '@apus/shared/ao'
import { createWallet, type DataItemFields, type Tag, type Wallet } from '@apus/shared/arweave'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import type { AoUnits } from '../../deploy/ao-units/start-ao-units.ts'
import { signDataItem } from '../../shared/src/arweave/data-item.ts'
import { evalLua, luaValue, startTestUnits, testClient, testWallet } from '../support/ao-units.ts'

const EVALUATION_LIMIT_MS = 2_000
const RECORDER = `
  Seen = {}
  Handlers.prepend('record', function() return 'continue' end, function(msg)
    table.insert(Seen, msg)
  end)
  Handlers.add('Ping', 'Ping', function(msg) msg.reply({ Data = 'pong' }) end)`

let units: AoUnits
let client: AoClient
let wallet: Wallet
let process: string
beforeAll(async () => {
  units = await startTestUnits({ evaluationLimitMs: EVALUATION_LIMIT_MS })
  wallet = await testWallet()
  client = await testClient('legacy', units)
  process = await client.spawn({})
  await evalLua(client, process, RECORDER)
})
afterAll(() => units.close())

const protocol = (type: string): Tag[] => [
  { name: 'Data-Protocol', value: 'ao' },
  { name: 'Variant', value: 'ao.TN.1' },
  { name: 'Type', value: type },
]
const message = (tags: readonly Tag[], more: Partial<DataItemFields> = {}): DataItemFields => ({
  target: process,
  tags: [...protocol('Message'), ...tags],
  data: ' ',
  ...more,
})
const post = async (
  raw: Uint8Array,
  url = units.urls.mu,
): Promise<{ status: number; code?: string; id?: string }> => {
  const headers = { 'content-type': 'application/octet-stream' }
  const response = await fetch(url, { method: 'POST', headers, body: Buffer.from(raw) })
  return { status: response.status, ...((await response.json()) as object) }
}
const sign = (fields: DataItemFields, by: Wallet = wallet) => signDataItem(fields, by)
const slots = async (of = process): Promise<number> =>
  Number(await (await fetch(`${units.urls.base}/${of}/slot/current`)).text())

describe('what is refused', () => {
  const more = (...pairs: ReadonlyArray<readonly [string, string]>): Tag[] => [
    ...protocol('Message'),
    ...pairs.map(([name, value]) => ({ name, value })),
  ]
  const someone = 'x'.repeat(43)
  test.each<readonly [string, string, readonly Tag[]]>([
    ['a foreign Type', 'type-foreign', protocol('Assignment')],
    ['no Type', 'type-foreign', protocol('Message').slice(0, 2)],
    ['another protocol', 'type-foreign', protocol('Message').slice(2)],
    ['two Types', 'tag-duplicate', more(['Type', 'Process'])],
    ['a tag twice', 'tag-duplicate', more(['Quantity', '1'], ['Quantity', '1'])],
    ['a tag twice but for its case', 'tag-duplicate', more(['Quantity', '1'], ['quantity', '9'])],
    [
      'a tag twice but for an underscore',
      'tag-duplicate',
      more(['Block-Height', '1'], ['Block_Height', '9']),
    ],
    ['a wallet that speaks for a process', 'tag-reserved', more(['From-Process', someone])],
    ['the same in other letters', 'tag-reserved', more(['from_process', someone])],
    ['a made-up module of a sender', 'tag-reserved', more(['From-Module', someone])],
  ])('%s', async (_, code, tags) => {
    const before = await slots()
    const { raw } = await sign({ target: process, tags, data: ' ' })
    expect(await post(raw)).toMatchObject({ status: 400, code })
    const pushed = await post(raw, `${units.urls.base}/${process}~process@1.0/push`)
    expect(pushed).toMatchObject({ status: 400, code })
    expect(await slots()).toBe(before)
  })

  test('a message whose signature does not hold, whatever was changed', async () => {
    const { raw } = await sign(message([{ name: 'Action', value: 'Ping' }]))
    for (const at of [10, 600, 1040, raw.length - 1]) {
      const changed = Buffer.from(raw)
      changed[at] = (changed[at] ?? 0) ^ 1
      expect((await post(changed)).status).toBe(400)
    }
    expect(await post(Buffer.from('nonsense'))).toMatchObject({ status: 400, code: 'data-item-invalid' })
    expect(await post(new Uint8Array())).toMatchObject({ status: 400, code: 'data-item-invalid' })
  })

  test('a signed message whose tags a relay took away', async () => {
    const { raw } = await sign(message([{ name: 'Action', value: 'Ping' }]))
    const stripped = Buffer.from(raw)
    // Type, signature, owner, target and its presence byte, absent anchor: then the tag count, which nobody signs.
    stripped.writeBigUInt64LE(0n, 2 + 512 + 512 + 33 + 1)
    expect(await post(stripped)).toMatchObject({ status: 400, code: 'data-item-invalid' })
  })

  test('a process of an unknown module or scheduler', async () => {
    const spawn = (module: string, scheduler: string): DataItemFields => ({
      tags: [
        ...protocol('Process'),
        { name: 'Module', value: module },
        { name: 'Scheduler', value: scheduler },
      ],
      data: ' ',
    })
    const other = 'y'.repeat(43)
    expect(await post((await sign(spawn(other, units.scheduler))).raw)).toMatchObject({
      code: 'module-unknown',
    })
    expect(await post((await sign(spawn(units.moduleId, other))).raw)).toMatchObject({
      code: 'scheduler-unknown',
    })
  })

  test('a body over 10 MB, announced or not', async () => {
    const big = Buffer.alloc(10 * 1024 * 1024 + 1)
    expect(await post(big)).toMatchObject({ status: 413, code: 'body-too-large' })
    const stream = new ReadableStream({
      start(controller) {
        for (let i = 0; i < 11; i++) controller.enqueue(new Uint8Array(1 << 20))
        controller.close()
      },
    })
    const init = { method: 'POST', body: stream, duplex: 'half' } as RequestInit
    const outcome = await fetch(units.urls.mu, init).then(
      response => response.status,
      () => 413,
    )
    expect(outcome).toBe(413)
  })

  test('a message to a process that does not exist', async () => {
    const { raw } = await sign(message([], { target: wallet.address }))
    expect(await post(raw)).toMatchObject({ status: 404, code: 'not-found' })
  })

  test('a pushed message sent to another process', async () => {
    const other = await client.spawn({})
    const { raw } = await sign(message([{ name: 'Action', value: 'Ping' }]))
    const answer = await post(raw, `${units.urls.base}/${other}~process@1.0/push`)
    expect(answer).toMatchObject({ status: 400, code: 'target-wrong' })
  })

  test('malformed JSON and cursors', async () => {
    const dryRun = `${units.urls.cu}/dry-run?process-id=${process}`
    expect(await (await fetch(dryRun, { method: 'POST', body: '{' })).json()).toMatchObject({
      code: 'json-invalid',
    })
    const tags = JSON.stringify({ Tags: [{ name: 1 }] })
    expect(await (await fetch(dryRun, { method: 'POST', body: tags })).json()).toMatchObject({
      code: 'json-invalid',
    })
    const results = await fetch(`${units.urls.cu}/results/${process}?from=nonsense`)
    expect(await results.json()).toMatchObject({ code: 'cursor-invalid' })
  })
})

describe('what cannot be forged', () => {
  test('the same item again, at once or later, is one message', async () => {
    const { id, raw } = await sign(message([{ name: 'Action', value: 'Ping' }]))
    const before = await slots()
    const push = `${units.urls.base}/${process}~process@1.0/push`
    const answers = await Promise.all([post(raw), post(raw), post(raw, push), post(raw)])
    expect(answers.map(answer => answer.id)).toEqual([id, id, id, id])
    await client.result(process, { id })
    await post(raw)
    expect(await slots()).toBe(before + 1)
  })

  test('the sender of a message is its signer, whatever its tags say', async () => {
    const stranger = await createWallet()
    const forged = message([
      { name: 'Action', value: 'Who' },
      { name: 'From', value: wallet.address },
      { name: 'Owner', value: wallet.address },
    ])
    await evalLua(
      client,
      process,
      `Handlers.add('Who', 'Who', function(msg) Who = msg.From .. ' ' .. msg.Owner end)`,
    )
    const { id, raw } = await sign(forged, stranger)
    expect((await post(raw)).status).toBe(202)
    await client.result(process, { id })
    expect(await luaValue(client, process, 'return Who')).toBe(`${stranger.address} ${stranger.address}`)
  })

  test('an uploaded item that speaks for a process cannot be assigned', async () => {
    const forged = await sign(
      message([
        { name: 'Action', value: 'Ping' },
        { name: 'From-Process', value: process },
      ]),
    )
    expect((await post(forged.raw, `${units.urls.gateway}/tx`)).status).toBe(200)
    await expect(client.assign(process, forged.id)).rejects.toMatchObject({
      details: { code: 'tag-reserved' },
    })
  })

  test('order, time and chain come from the scheduler and can be checked by anybody', async () => {
    for (let i = 0; i < 3; i++) await client.send({ process, tags: [{ name: 'Action', value: 'Ping' }] })
    const { edges } = (await (await fetch(`${units.urls.su}/${process}`)).json()) as {
      edges: Array<{ node: { assignment: { owner: { address: string }; tags: Tag[] } } }>
    }
    const times = edges.map(({ node }) =>
      Number(node.assignment.tags.find(tag => tag.name === 'Timestamp')?.value),
    )
    expect(times).toEqual([...new Set(times)].sort((a, b) => a - b))
    expect(edges.every(({ node }) => node.assignment.owner.address === units.scheduler)).toBe(true)
  })

  test('reserved tags reach the process as on public AO, so it must guard itself', async () => {
    await client.sendAndWait({
      process,
      tags: [
        { name: 'Action', value: 'Note' },
        { name: 'Timestamp', value: '1' },
      ],
    })
    expect(await luaValue(client, process, 'return Seen[#Seen - 1].Timestamp')).toBe('1')
  })
})

describe('what a process cannot break', () => {
  test('a message that never ends is ended, and no other process notices', async () => {
    const victim = await client.spawn({})
    await evalLua(client, victim, 'Value = 1')
    const endless = await client.spawn({})
    await evalLua(client, endless, 'Value = 7')
    const { id } = await client.send({
      process: endless,
      tags: [{ name: 'Action', value: 'Eval' }],
      data: 'Value = 8 while true do end',
    })
    expect((await client.result(endless, { id })).error).toContain(`${EVALUATION_LIMIT_MS} ms`)
    expect(await luaValue(client, endless, 'return Value')).toBe('7')
    expect(await luaValue(client, victim, 'return Value')).toBe('1')
  })

  test('messages that wait for the thread after one that never ends are evaluated once, in order', async () => {
    const busy = await client.spawn({})
    await evalLua(client, busy, `Trace = ''`)
    const note = (letter: string, work = '') => ({
      process: busy,
      tags: [{ name: 'Action', value: 'Eval' }],
      data: `Trace = Trace .. '${letter}' ${work}`,
    })
    const sent: Array<{ id: string }> = []
    for (const one of [
      note('a', 'for _ = 1, 5e6 do end'),
      note('b'),
      note('x', 'while true do end'),
      note('c'),
      note('y', `error('no')`),
      note('d'),
    ])
      sent.push(await client.send(one))
    const errors = await Promise.all(sent.map(async one => (await client.result(busy, one)).error))
    expect(errors.map(error => error !== undefined)).toEqual([false, false, true, false, true, false])
    expect(await luaValue(client, busy, 'return Trace')).toBe('abcd')
  })

  test('a throw outside every handler is an error of that message alone', async () => {
    const { id } = await client.send({
      process,
      tags: [
        { name: 'Action', value: 'Ping' },
        { name: 'Content-Type', value: 'application/json' },
      ],
      data: '{ "broken',
    })
    expect((await client.result(process, { id })).error).toBeDefined()
    const { messages } = await client.sendAndWait({ process, tags: [{ name: 'Action', value: 'Ping' }] })
    expect(messages[0]?.Data).toBe('pong')
  })

  test('messages of a wrong shape are an error, not the end', async () => {
    const odd = await client.spawn({})
    const { id } = await client.send({
      process: odd,
      tags: [{ name: 'Action', value: 'Eval' }],
      data: 'Value = 1 table.insert(ao.outbox.Messages, { Target = {}, Tags = "none" })',
    })
    expect((await client.result(odd, { id })).error).toContain('wrong shape')
    expect(await luaValue(client, odd, 'return tostring(Value)')).toBe('nil')
  })

  test('a process that fails on every message keeps its state', async () => {
    await evalLua(
      client,
      process,
      `Kept = 0 Handlers.add('Fail', 'Fail', function() Kept = Kept + 1 error('no') end)`,
    )
    const failing = Array.from({ length: 20 }, () =>
      client.send({ process, tags: [{ name: 'Action', value: 'Fail' }] }),
    )
    for (const sent of await Promise.all(failing))
      expect((await client.result(process, sent)).error).toContain('no')
    expect(await luaValue(client, process, 'return Kept')).toBe('0')
  })
})

describe('how the program behaves', () => {
  test('a port in use is named in the error', async () => {
    const port = Number(new URL(units.urls.base).port)
    await expect(startTestUnits({ port })).rejects.toMatchObject({ code: 'port-in-use' })
  })

  test('it listens on loopback, and its key is for its owner alone', async () => {
    expect(new URL(units.urls.base).hostname).toBe('127.0.0.1')
    const { mkdtemp, rm, stat, writeFile } = await import('node:fs/promises')
    const { tmpdir } = await import('node:os')
    const { join } = await import('node:path')
    const dir = await mkdtemp(join(tmpdir(), 'apus-ao-'))
    const first = await startTestUnits({ dir })
    await first.close()
    expect((await stat(join(dir, 'unit-key.json'))).mode & 0o777).toBe(0o600)
    const second = await startTestUnits({ dir })
    await second.close()
    expect(second.authority).toBe(first.authority)
    await writeFile(join(dir, 'unit-key.json'), '{"kty":"none"}')
    await expect(startTestUnits({ dir })).rejects.toMatchObject({ code: 'wallet-invalid' })
    await rm(dir, { recursive: true })
  })
})
