import { appendFileSync, readFileSync, truncateSync } from 'node:fs'
import { rm, stat } from 'node:fs/promises'
import { join } from 'node:path'
import { connectAo } from '@apus/shared/ao'
import { afterEach, beforeEach, expect, test } from 'vitest'
import {
  aoConfig,
  evalLua,
  luaValue,
  spawnUnits,
  temporaryDirectory,
  testClient,
  testWallet,
  type UnitsChild,
} from '../support/ao-units.ts'

/** Every message goes on to a second process, so that a lost or repeated push shows in its count. */
const SOURCE = `
  Sent = 0
  Order = ''
  Numbers = ''
  Handlers.add('Go', 'Go', function(msg)
    for _ = 1, tonumber(msg.Rounds) or 0 do end
    Sent = Sent + 1
    Numbers = Numbers .. ' ' .. msg.Number
    Order = require('.crypto').digest.sha2_256(require('.crypto').utils.stream.fromString(Order .. msg.Number)).asHex()
    Send({ Target = Sink, Action = 'Credit-Notice', Quantity = '1', Number = msg.Number })
  end)
  Handlers.add('Break', 'Break', function() Sent = Sent + 1000 error('broken on purpose') end)`
const SINK = `
  Received, Seen, Twice = 0, {}, 0
  Handlers.add('Credit', 'Credit-Notice', function(msg)
    if Seen[msg.Id] then Twice = Twice + 1 end
    Seen[msg.Id] = true
    Received = Received + 1
  end)`

let dir: string
let units: UnitsChild
let port: number
beforeEach(async () => {
  dir = await temporaryDirectory()
  units = await spawnUnits(dir)
  port = Number(new URL(units.urls.base).port)
})
afterEach(async () => {
  await units.kill()
  await rm(dir, { recursive: true })
})

type Client = Awaited<ReturnType<typeof testClient>>

async function spawnPair(client: Client) {
  const [source, sink] = await Promise.all([client.spawn({}), client.spawn({})])
  await evalLua(client, sink, SINK)
  await evalLua(client, source, `Sink = '${sink}' ${SOURCE}`)
  return { source, sink }
}

const settle = async (client: Client, sink: string, expected: number) =>
  expect
    .poll(() => luaValue(client, sink, 'return Received .. "," .. Twice'), { timeout: 60_000, interval: 200 })
    .toBe(`${expected},0`)

test('killed again and again under load, nothing is lost, repeated or reordered', async () => {
  let client = await testClient('legacy', units)
  const { source, sink } = await spawnPair(client)

  const accepted: string[] = []
  let number = 0
  for (let round = 0; round < 4; round++) {
    // The units die while messages are on their way; the client goes on sending the same signed items.
    const patient = connectAo({ ...aoConfig('legacy', units), attempts: 12 }, await testWallet())
    const sending = Array.from({ length: 40 }, async (_, at) => {
      const tags = at % 8 === 7 ? [{ name: 'Action', value: 'Break' }] : [{ name: 'Action', value: 'Go' }]
      const { id } = await patient.send({
        process: source,
        tags: [...tags, { name: 'Number', value: String(number++) }],
      })
      accepted.push(id)
    })
    await Promise.race(sending.slice(0, 15))
    await units.kill()
    units = await spawnUnits(dir, port)
    await Promise.all(sending)
  }

  client = await testClient('legacy', units)
  expect(accepted).toHaveLength(160)
  await settle(client, sink, 140)
  expect(await luaValue(client, source, 'return Sent')).toBe('140')

  // The state after one more kill and a rebuild is the state that was there, to the last hash.
  const before = await luaValue(client, source, 'return Order')
  await units.kill()
  units = await spawnUnits(dir, port)
  client = await testClient('legacy', units)
  expect(await luaValue(client, source, 'return Order')).toBe(before)
  await expectSoundOrder(units, source, accepted)
}, 240_000)

test('killed while the thread works ahead of what was written down, nothing is lost or repeated', async () => {
  let client = await testClient('legacy', units)
  const { source, sink } = await spawnPair(client)
  const go = (number: number, rounds: number) =>
    client.send({
      process: source,
      tags: [
        { name: 'Action', value: 'Go' },
        { name: 'Number', value: String(number) },
        { name: 'Rounds', value: String(rounds) },
      ],
    })
  // The first gives the others time to be scheduled; the third is with the thread when the second is answered.
  await go(1, 5e6)
  const second = await go(2, 0)
  const third = await go(3, 2e7)
  await go(4, 0)
  await client.result(source, second)
  const pending = fetch(`${units.urls.cu}/result/${third.id}?process-id=${source}`)
  await Promise.all([expect(pending).rejects.toThrow('fetch failed'), units.kill()])

  units = await spawnUnits(dir, port)
  client = await testClient('legacy', units)
  await settle(client, sink, 4)
  expect(await luaValue(client, source, 'return Sent .. Numbers')).toBe('4 1 2 3 4')
}, 60_000)

/** Slots count up without gaps, times grow, every accepted message has exactly one slot, the chain holds. */
async function expectSoundOrder(
  from: UnitsChild,
  process: string,
  accepted: readonly string[],
): Promise<void> {
  const { edges } = (await (await fetch(`${from.urls.su}/${process}`)).json()) as {
    edges: Array<{
      node: {
        message: { id: string }
        assignment: { id: string; tags: Array<{ name: string; value: string }> }
      }
    }>
  }
  const { nextChain } = await import('../../deploy/ao-units/messages/schedule.ts')
  let previous: { chain: string; assignment: string } | undefined
  let time = 0
  for (const [slot, { node }] of edges.entries()) {
    const tag = (name: string) => node.assignment.tags.find(one => one.name === name)?.value
    expect(tag('Nonce')).toBe(String(slot))
    expect(Number(tag('Timestamp'))).toBeGreaterThan(time)
    expect(tag('Hash-Chain')).toBe(nextChain(previous))
    expect(tag('Message')).toBe(node.message.id)
    time = Number(tag('Timestamp'))
    previous = { chain: tag('Hash-Chain') ?? '', assignment: node.assignment.id }
  }
  const ids = edges.map(edge => edge.node.message.id)
  expect(new Set(ids).size).toBe(ids.length)
  for (const id of accepted) expect(ids).toContain(id)
}

test('a torn last record is cut off and everything before it is kept', async () => {
  let client = await testClient('mainnet', units)
  const process = await client.spawn({})
  await evalLua(client, process, 'Value = 41')
  await units.kill()
  const log = join(dir, 'log')
  const { size } = await stat(log)
  appendFileSync(log, readFileSync(log).subarray(0, 100))
  units = await spawnUnits(dir)
  client = await testClient('mainnet', units)
  expect(await luaValue(client, process, 'Value = Value + 1 return Value')).toBe('42')
  await units.kill()

  // The end of the log is lost: what was evaluated last is gone as a whole.
  expect((await stat(log)).size).toBeGreaterThan(size)
  truncateSync(log, size + 10)
  units = await spawnUnits(dir)
  client = await testClient('mainnet', units)
  expect(await luaValue(client, process, 'return Value')).toBe('41')
})

test('a second program refuses the same directory, and a stop is clean', async () => {
  await expect(spawnUnits(dir)).rejects.toThrow('ended with 1')
  expect(await units.stop()).toBe(0)
  units = await spawnUnits(dir)
})
