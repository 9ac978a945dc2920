import { readFile } from 'node:fs/promises'
import { join } from 'node:path'
import { expect, test } from 'vitest'
import { ResidentProcess } from '../../deploy/ao-units/compute/resident-process.ts'
import { AOS_MODULE_ID, ensureAosModule } from '../../deploy/setup/aos-module.mjs'
import { loadAos } from '../support/aos.ts'

const OWNER = 'owner'.padEnd(43, '_')
const STRANGER = 'stranger'.padEnd(43, '_')
const ID = 'process'.padEnd(43, '_')

const counter = async () => {
  const process = await (await loadAos()).spawn({ id: ID, owner: OWNER })
  await process.eval(`
    Count = 0
    Handlers.add('Increment', 'Increment', function(msg) Count = Count + 1 msg.reply({ Data = tostring(Count) }) end)
    Handlers.add('Break', 'Break', function() Count = 1000 error('broken') end)`)
  return process
}

test('evaluates in the real aos module with deterministic ids and times', async () => {
  const process = await counter()
  const result = await process.handle({
    from: STRANGER,
    tags: { Action: 'Increment' },
  })
  expect(result.Messages).toMatchObject([{ Target: STRANGER, Data: '1' }])
  expect(await process.eval('return Owner')).toBe(OWNER)
})

test('a failed message, a throw outside every handler and a dry run leave no trace', async () => {
  const process = await counter()
  for (let i = 0; i < 3; i++) await process.handle({ from: STRANGER, tags: { Action: 'Increment' } })
  const failed = await process.handle({
    from: STRANGER,
    tags: { Action: 'Break' },
  })
  expect(failed.Error).toContain('broken')
  expect(failed.Messages).toEqual([])
  const thrown = await process.handle({
    tags: { Action: 'Increment', 'Content-Type': 'application/json' },
    data: '{',
  })
  expect(thrown.Error).toBeDefined()
  const dry = await process.dryRun({
    from: STRANGER,
    tags: { Action: 'Increment' },
  })
  expect(dry.Messages).toMatchObject([{ Data: '4' }])
  expect(await process.eval('return Count')).toBe('3')
})

test('the memory after failures and deeply nested dry runs is the memory without them, byte for byte', async () => {
  const path = await ensureAosModule(join(import.meta.dirname, '../../../../.cache/aos'))
  const module = await WebAssembly.compile(await readFile(path))
  const environment = {
    Process: { Id: ID, Owner: OWNER, Tags: [] },
    Module: { Id: AOS_MODULE_ID, Owner: OWNER, Tags: [] },
  }
  const message = (nonce: number, data: string) => ({
    Id: nonce === 0 ? ID : `message-${nonce}`.padEnd(43, '_'),
    Target: ID,
    Owner: OWNER,
    From: OWNER,
    Data: data,
    Tags: [{ name: 'Action', value: 'Eval' }],
    Epoch: 0,
    Nonce: nonce,
    Timestamp: 1_760_000_000_000 + nonce,
    'Block-Height': 1_600_000,
    'Hash-Chain': 'chain'.padEnd(43, '_'),
    Module: AOS_MODULE_ID,
    Cron: false,
  })
  // Every protected call goes down the stack of the module itself.
  const deep = 'local function down(n) if n > 0 then pcall(down, n - 1) end end down(150)'
  const memoryAfter = async (disturb: (process: ResidentProcess, nonce: number) => Promise<void>) => {
    const process = await ResidentProcess.start(module, environment)
    for (let nonce = 0; nonce < 12; nonce++) {
      const { Error: error } = await process.evaluate(message(nonce, `Sum = (Sum or 0) + ${nonce}`))
      expect(error).toBeUndefined()
      await disturb(process, nonce + 1)
    }
    return process.snapshot()
  }
  const quiet = await memoryAfter(async () => undefined)
  const disturbed = await memoryAfter(async (process, nonce) => {
    const failed = await process.evaluate(message(nonce, `${deep} Sum = string.rep('x', 99999) error('no')`))
    expect(failed.Error).toBeDefined()
    const dry = await process.dryRun(message(nonce, `${deep} Sum = {} return 'dry'`))
    expect(dry.Output).toMatchObject({ data: 'dry' })
  })
  expect(disturbed.bytes).toBe(quiet.bytes)
  expect(disturbed.pages.map(([index]) => index)).toEqual(quiet.pages.map(([index]) => index))
  for (const [at, [, content]] of disturbed.pages.entries())
    expect(Buffer.compare(content, quiet.pages[at]?.[1] ?? Buffer.alloc(0))).toBe(0)
})

test('running out of memory is an error of that message alone', async () => {
  const process = await counter()
  await process.handle({ tags: { Action: 'Increment' } })
  const code = 'local t = {} for i = 1, 4 do t[i] = string.rep("x", 200000000 + i) end'
  await expect(process.eval(code)).rejects.toThrow()
  expect(await process.eval('return Count')).toBe('1')
})

test('leaves Math.random and console.log as they were', async () => {
  const { random } = Math
  const { log } = console
  await (await counter()).handle({ tags: { Action: 'Break' } })
  expect(Math.random).toBe(random)
  expect(console.log).toBe(log)
})
