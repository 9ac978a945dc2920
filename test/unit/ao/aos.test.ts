import { expect, test } from 'vitest'
import { loadAos } from '../../support/aos.ts'

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

test('running out of memory is an error of that message alone', async () => {
  const process = await counter()
  await process.handle({ tags: { Action: 'Increment' } })
  const code = 'local t = {} for i = 1, 4 do t[i] = string.rep("x", 200000000 + i) end'
  await expect(process.eval(code)).rejects.toThrow()
  expect(await process.eval('return Count')).toBe('1')
})

test('Math.random and console.log are as they were', async () => {
  const { random } = Math
  const { log } = console
  await (await counter()).handle({ tags: { Action: 'Break' } })
  expect(Math.random).toBe(random)
  expect(console.log).toBe(log)
})
