import { type AoClient, type AoConfig, connectAo } from '@apus/shared/ao'
import { addressOf } from '@apus/shared/arweave'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import type { AoUnits } from '../../deploy/ao-units/start-ao-units.ts'
import { watchProcess } from '../../shared/src/ao/watch-process.ts'
import { verifyItemFields } from '../../shared/src/arweave/data-item.ts'
import { aoConfig, evalLua, luaValue, startTestUnits, testClient, testWallet } from '../support/ao-units.ts'

const COUNTER = `
  Count = Count or 0
  Handlers.add('Increment', 'Increment', function(msg)
    Count = Count + 1
    Send({ device = 'patch@1.0', counter = { value = tostring(Count), parts = { a = 'x' } } })
    msg.reply({ Action = 'Counted', Data = tostring(Count) })
  end)
  Handlers.add('Break', 'Break', function() Count = 1000 error('broken on purpose') end)
  Handlers.add('Forward', 'Forward', function(msg)
    Send({ Target = msg.To, Action = 'Credit-Notice', Quantity = msg.Quantity, Sender = msg.From })
  end)`

const INCREMENT = [{ name: 'Action', value: 'Increment' }]

let units: AoUnits
beforeAll(async () => {
  units = await startTestUnits()
})
afterAll(() => units.close())

describe.each(['legacy', 'mainnet'] as const)('AO in %s mode', mode => {
  let client: AoClient
  let counter: string
  beforeAll(async () => {
    client = await testClient(mode, units)
    counter = await client.spawn({ tags: [{ name: 'Name', value: 'counter' }] })
    await evalLua(client, counter, COUNTER)
  })

  test('a spawned process belongs to the wallet and trusts the authority', async () => {
    expect(await luaValue(client, counter, 'return Owner')).toBe(client.address)
    expect(await luaValue(client, counter, 'return ao.authorities[1]')).toBe(units.authority)
  })

  test('a message is evaluated and answered', async () => {
    const sent = await client.send({ process: counter, tags: INCREMENT })
    const result = await client.result(counter, sent)
    expect(result.messages.map(message => message.Target)).toContain(client.address)
    const reply = result.messages.find(message => message.Target === client.address)
    expect(reply?.Tags).toContainEqual({ name: 'Action', value: 'Counted' })
  })

  test('a failure in the process is an error with a code, and changes nothing', async () => {
    const before = await luaValue(client, counter, 'return Count')
    const failed = client.sendAndWait({ process: counter, tags: [{ name: 'Action', value: 'Break' }] })
    await expect(failed).rejects.toMatchObject({ code: 'ao-process-error' })
    expect(await luaValue(client, counter, 'return Count')).toBe(before)
  })

  test('a dry run shows a result and leaves no trace', async () => {
    const before = Number(await luaValue(client, counter, 'return Count'))
    const dry = await client.dryRun({ process: counter, tags: INCREMENT })
    expect(dry.messages.at(-1)?.Data).toBe(String(before + 1))
    expect(await luaValue(client, counter, 'return Count')).toBe(String(before))
  })

  test('published state is read by path', async () => {
    const { messages } = await client.sendAndWait({ process: counter, tags: INCREMENT })
    const value = messages.at(-1)?.Data
    expect(await client.state(counter, 'counter/value')).toBe(value)
    expect(await client.state(counter, 'counter')).toEqual({ value, parts: { a: 'x' } })
    expect(await client.state(counter, 'counter/parts', 'compute')).toEqual({ a: 'x' })
    expect(await client.state(counter, 'nothing/here')).toBeUndefined()
  })

  test('results come in order, page by page, each once', async () => {
    const process = await client.spawn({})
    await evalLua(client, process, COUNTER)
    for (let i = 0; i < 5; i++) await client.sendAndWait({ process, tags: INCREMENT })
    const seen: unknown[] = []
    let after: string | undefined
    for (let more = true; more; ) {
      const page = await client.results(process, { after, limit: 2 })
      expect(page.edges.length).toBeLessThanOrEqual(2)
      seen.push(...page.edges.map(edge => edge.result.messages.at(-1)?.Data))
      after = page.edges.at(-1)?.cursor ?? after
      more = page.more
    }
    expect(seen).toEqual([undefined, undefined, '1', '2', '3', '4', '5'])
    expect(await client.results(process, { after })).toEqual({ edges: [], more: false })
  })

  test('a snapshot and the results after it leave nothing out', async () => {
    const process = await client.spawn({})
    await evalLua(client, process, COUNTER)
    await client.sendAndWait({ process, tags: INCREMENT })
    await client.sendAndWait({ process, tags: INCREMENT })
    const snapshot = await client.snapshot(process, ['counter', 'nothing'])
    expect(snapshot?.state).toEqual({ counter: { value: '2', parts: { a: 'x' } } })
    await client.sendAndWait({ process, tags: INCREMENT })
    const { edges } = await client.results(process, { after: snapshot?.cursor })
    expect(edges.map(edge => edge.result.messages.at(-1)?.Data)).toEqual(['3'])
  })

  test('a watcher yields what was there and what comes, from a kept cursor', async () => {
    const process = await client.spawn({})
    await evalLua(client, process, COUNTER)
    const stop = new AbortController()
    const options = {
      pollMs: 10,
      signal: stop.signal,
      onError: (error: unknown) => expect.unreachable(String(error)),
    }
    const values: unknown[] = []
    let cursor: string | undefined
    await client.sendAndWait({ process, tags: INCREMENT })
    for await (const edge of watchProcess(client, process, options)) {
      cursor = edge.cursor
      const value = edge.result.messages.at(-1)?.Data
      if (value === '1') break
    }
    const rest = (async () => {
      for await (const edge of watchProcess(client, process, { ...options, after: cursor })) {
        values.push(edge.result.messages.at(-1)?.Data)
        if (values.length === 2) stop.abort()
      }
    })()
    await client.send({ process, tags: INCREMENT })
    await client.send({ process, tags: INCREMENT })
    await rest
    expect(values).toEqual(['2', '3'])
  })

  test('a message from one process reaches another with its sender', async () => {
    const receiver = await client.spawn({})
    const handler = `Handlers.add('Credit', 'Credit-Notice', function(msg)
      Send({ device = 'patch@1.0', credit = { from = msg.From, quantity = msg.Quantity, pushed = msg['Pushed-For'] } })
    end)`
    await evalLua(client, receiver, handler)
    const sent = await client.send({
      process: counter,
      tags: [
        { name: 'Action', value: 'Forward' },
        { name: 'To', value: receiver },
        { name: 'Quantity', value: '7' },
      ],
    })
    await client.result(counter, sent)
    await expect
      .poll(() => client.state(receiver, 'credit'), { timeout: 10_000 })
      .toEqual({ from: counter, quantity: '7', pushed: sent.id })
  })

  test('a process spawned from Lua is announced to its parent and owned by it', async () => {
    const parent = await client.spawn({})
    await evalLua(
      client,
      parent,
      `Handlers.add('Spawned', 'Spawned', function(msg)
        Send({ device = 'patch@1.0', child = { id = msg.Process, from = msg.From, colour = msg.Colour } })
      end)
      Spawn('${units.moduleId}', { Data = 'x', Tags = { Authority = '${units.authority}', Colour = 'blue' } })`,
    )
    await expect.poll(() => client.state(parent, 'child'), { timeout: 10_000 }).toBeDefined()
    const child = (await client.state(parent, 'child')) as { id: string; from: string; colour: string }
    expect(child).toMatchObject({ from: parent, colour: 'blue' })
    await evalLua(
      client,
      parent,
      `Send({ Target = '${child.id}', Action = 'Eval', Data = 'Touched = true' })`,
    )
    await evalLua(
      client,
      parent,
      `Send({ Target = '${child.id}', Action = 'Eval', Data = "Send({device='patch@1.0', me={owner=Owner, touched=tostring(Touched)}})" })`,
    )
    await expect
      .poll(() => client.state(child.id, 'me'), { timeout: 10_000 })
      .toEqual({ owner: parent, touched: 'true' })
  })

  test('a process, message or path that does not exist is an error with a code of its own', async () => {
    const nobody = 'x'.repeat(42).concat('w')
    await expect(client.send({ process: nobody, tags: INCREMENT })).rejects.toMatchObject({
      code: 'ao-not-found',
    })
    await expect(client.results(nobody)).rejects.toMatchObject({ code: 'ao-not-found' })
    await expect(client.result(counter, { id: nobody, slot: 100_000 })).rejects.toMatchObject({
      code: 'ao-not-found',
    })
    expect(await client.state(nobody, 'x')).toBeUndefined()
  })

  test('tags that the transport takes for itself are refused before signing', async () => {
    for (const name of ['Target', 'data', 'Type', 'Path']) {
      const sent = client.send({ process: counter, tags: [{ name, value: 'x' }] })
      await expect(sent).rejects.toMatchObject({ code: 'tag-unsendable' })
    }
  })

  test('a message that is too large is an error with a code of its own', async () => {
    const sent = client.send({ process: counter, tags: INCREMENT, data: 'x'.repeat(10_500_000) })
    await expect(sent).rejects.toMatchObject({ code: 'ao-too-large' })
  })

  test('units that do not run are reported as unreachable after retries', async () => {
    const gone = { ...units, urls: await closedUrls() }
    const lost = connectAo({ ...aoConfig(mode, gone), attempts: 2 }, await testWallet())
    await expect(lost.send({ process: counter, tags: INCREMENT })).rejects.toMatchObject({
      code: 'ao-unreachable',
      retry: true,
    })
  })

  test('sending without a wallet is refused, reading is not', async () => {
    const reader = connectAo(aoConfig(mode, units))
    await expect(reader.send({ process: counter, tags: INCREMENT })).rejects.toMatchObject({
      code: 'wallet-missing',
    })
    expect((await reader.results(counter, { limit: 1 })).edges).toHaveLength(1)
  })
})

async function closedUrls(): Promise<AoUnits['urls']> {
  const closed = await startTestUnits()
  await closed.close()
  return closed.urls
}

describe('what classic units do and HyperBEAM nodes do not', () => {
  test('an assignment schedules a message for another process, once', async () => {
    const client = await testClient('legacy', units)
    const [first, second] = await Promise.all([client.spawn({}), client.spawn({})])
    await evalLua(client, second, 'ao.addAssignable("all", function() return true end)')
    const { id } = await client.send({ process: first, tags: [{ name: 'Action', value: 'Hello' }] })
    await client.assign(second, id)
    await client.assign(second, id)
    await client.result(second, { id })
    const page = await client.results(second)
    expect(page.edges).toHaveLength(3)
    await expect(client.assign(second, 'x'.repeat(43))).rejects.toMatchObject({ code: 'ao-not-found' })
  })

  test('monitoring sends cron messages until it ends', async () => {
    const client = await testClient('legacy', units)
    const process = await client.spawn({
      tags: [
        { name: 'Cron-Interval', value: '1-second' },
        { name: 'Cron-Tag-Action', value: 'Tick' },
      ],
    })
    await evalLua(
      client,
      process,
      `Ticks = 0
      Handlers.add('Tick', 'Tick', function(msg)
        Ticks = Ticks + 1
        Send({ device = 'patch@1.0', ticks = { count = tostring(Ticks), cron = tostring(msg.Cron), from = msg.From } })
      end)`,
    )
    await client.monitor(process)
    await expect
      .poll(() => client.state(process, 'ticks'), { timeout: 20_000 })
      .toEqual({ count: '2', cron: 'true', from: client.address })
    await client.unmonitor(process)
    const count = await luaValue(client, process, 'return Ticks')
    await new Promise(resolve => setTimeout(resolve, 1_500))
    expect(await luaValue(client, process, 'return Ticks')).toBe(count)
  })

  test('a stranger cannot end what another monitors', async () => {
    const owner = await testClient('legacy', units)
    const { createWallet } = await import('../../shared/src/arweave/wallet.ts')
    const stranger = await testClient('legacy', units, await createWallet())
    const process = await owner.spawn({ tags: [{ name: 'Cron-Interval', value: '1-second' }] })
    await owner.monitor(process)
    await stranger.unmonitor(process)
    await expect
      .poll(async () => (await owner.results(process)).edges.length, { timeout: 15_000 })
      .toBeGreaterThan(1)
    await owner.unmonitor(process)
  })

  test('the scheduler gives a message as its wallet signed it', async () => {
    const client = await testClient('legacy', units)
    const process = await client.spawn({})
    const { id } = await client.send({ process, tags: INCREMENT, data: 'Größe 1' })
    const message = await client.message(process, id)
    expect(message).toMatchObject({ id, target: process, data: 'Größe 1' })
    expect(message.tags).toContainEqual(INCREMENT[0])
    const key = Buffer.from(message.owner, 'base64url')
    expect(addressOf(key)).toBe(client.address)
    const signature = Buffer.from(message.signature, 'base64url')
    expect(await verifyItemFields(message, key, signature)).toBe(true)
    expect(await verifyItemFields({ ...message, data: 'Größe 2' }, key, signature)).toBe(false)
    expect(await verifyItemFields({ ...message, anchor: 'too short' }, key, signature)).toBe(false)
    const { suUrl: _, ...config } = aoConfig('legacy', units) as Extract<AoConfig, { mode: 'legacy' }>
    const without = connectAo(config)
    await expect(without.message(process, id)).rejects.toMatchObject({ code: 'ao-unsupported' })
    const unknown = client.message(process, 'x'.repeat(43))
    await expect(unknown).rejects.toMatchObject({ code: 'ao-not-found' })
  })

  test('state is gathered from results where no node serves it', async () => {
    const { stateUrl: _, ...config } = aoConfig('legacy', units) as Extract<
      ReturnType<typeof aoConfig>,
      { mode: 'legacy' }
    >
    const client = connectAo(config, await testWallet())
    const process = await client.spawn({})
    await evalLua(client, process, COUNTER)
    await client.sendAndWait({ process, tags: INCREMENT })
    expect(await client.state(process, 'counter/value')).toBe('1')
    await client.sendAndWait({ process, tags: INCREMENT })
    expect(await client.state(process, 'counter')).toEqual({ value: '2', parts: { a: 'x' } })
    expect(await client.snapshot(process, ['counter'])).toBeUndefined()
  })

  test('a HyperBEAM node refuses assignments and monitoring by name', async () => {
    const client = await testClient('mainnet', units)
    await expect(client.assign('x', 'y')).rejects.toMatchObject({ code: 'ao-unsupported' })
    await expect(client.message('x', 'y')).rejects.toMatchObject({ code: 'ao-unsupported' })
    await expect(client.monitor('x')).rejects.toMatchObject({ code: 'ao-unsupported' })
  })
})
