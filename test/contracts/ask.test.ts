import { readFile } from 'node:fs/promises'
import { beforeEach, describe, expect, it } from 'vitest'
import { APUS, addressOf, DEPLOYER } from '../support/contracts.ts'
import { type Cast, commitAll, MODEL, revealAll, setUp, tick } from '../support/contracts-cast.ts'

interface Question {
  readonly state: string
  readonly answer?: string
  readonly code?: string
  readonly refunded?: string
}

describe('an AO process', () => {
  const asker = addressOf('asker')
  let cast: Cast
  beforeEach(async () => {
    cast = await setUp()
    const { world } = cast
    const example = new URL('../../contracts-lua/examples/ask.lua', import.meta.url)
    const names = `TOKEN, NETWORK, MODEL = '${world.token}', '${world.network}', '${MODEL}'\n`
    await world.load(asker, names + (await readFile(example, 'utf8')))
    await world.send(DEPLOYER, world.token, 'Transfer', { Recipient: asker, Quantity: String(50n * APUS) })
  })
  const ask = (quantity: bigint) =>
    cast.world.send(DEPLOYER, asker, 'Ask', { Quantity: String(quantity) }, 'What is the answer?')
  const questions = async () => {
    const { sent } = await cast.world.send(DEPLOYER, asker, 'Questions')
    return JSON.parse(sent[0]?.data ?? '') as Record<string, Question>
  }

  it('pays for a question, keeps the answer and gets the change', async () => {
    const { world } = cast
    await ask(10n * APUS)
    const [accepted] = world.received(asker, 'Job-Accepted')
    const job = String(accepted?.tags.Job)
    expect(world.job(job)).toMatchObject({ requester: asker, reference: 'question-1' })
    await tick(cast)
    await commitAll(cast, job)
    await revealAll(cast, job)
    expect((await questions())['question-1']).toMatchObject({ state: 'answered', answer: 'The answer is 42' })
    expect(world.balance(asker)).toBe(50n * APUS - 4n * (APUS + (APUS / 100n) * 5n))
  })

  it('learns that it paid too little and has its money back', async () => {
    await ask(1n)
    expect((await questions())['question-1']).toMatchObject({
      state: 'failed',
      code: 'underpaid',
      refunded: '1',
    })
    expect(cast.world.balance(asker)).toBe(50n * APUS)
  })

  it('learns that its job failed', async () => {
    for (const miner of cast.miners) await miner.act('Pause')
    await ask(10n * APUS)
    await cast.world.pass(12 * 60_000)
    expect((await questions())['question-1']).toMatchObject({ state: 'failed', code: 'too-few-miners' })
    expect(cast.world.balance(asker)).toBe(50n * APUS)
  })

  it('asks for its owner only', async () => {
    await cast.world.send(addressOf('stranger'), asker, 'Ask', { Quantity: String(APUS) }, 'free?')
    expect(await questions()).toEqual([])
    expect(cast.world.balance(asker)).toBe(50n * APUS)
  })
})
