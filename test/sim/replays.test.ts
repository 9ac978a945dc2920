import { accusedAnswer, challengerMove, type DisputeMessage } from '@apus/shared/dispute'
import { bundleLayout, decodeManifest } from '@apus/shared/machine'
import {
  type Address,
  commitmentOf,
  commitmentSalt,
  type JobId,
  type ProcessId,
  resultRoot,
} from '@apus/shared/protocol'
import { describe, expect, it } from 'vitest'
import { saltKey } from '../../node/src/work/run-job.ts'
import { BalanceSheet } from '../support/balance-sheet.ts'
import { APUS, addressOf, digestOf, UNIT } from '../support/contracts.ts'
import { BASE_PRICE, type Miner, seated, setUp, TOKEN_PRICE, tick } from '../support/contracts-cast.ts'
import { flipBit } from '../support/dispute/flip.ts'
import { reading, resultOf } from '../support/dispute/play.ts'
import { type Side, Trial } from '../support/dispute/trial.ts'

const MINUTE = 60_000
const WAGE = BASE_PRICE + TOKEN_PRICE * 4n
const BOND = WAGE * 25n
const DISPUTE_BOND = WAGE * 3n
const REWARD = (BOND * 3n) / 10n
const PURSE = 100n * APUS

async function open(parameters = {}): Promise<Trial> {
  const trial = await Trial.open({ purse: PURSE, parameters: { disputeWindow: 200 * MINUTE, ...parameters } })
  for (const miner of trial.cast.miners) await trial.world.pay(miner.address, PURSE, 'Deposit')
  return trial
}

/** Somebody without a seat, with money in its account. */
async function outsider({ world, cast }: Trial, name: string): Promise<string> {
  const address = addressOf(name)
  await world.send(cast.requester, world.token, 'Transfer', { Recipient: address, Quantity: String(PURSE) })
  await world.pay(address, PURSE, 'Deposit')
  return address
}

const wrongWeight = (trial: Trial) => {
  const layout = bundleLayout(decodeManifest(trial.bundle.leaf(0)))
  return trial.run(flipBit(trial.bundle, layout.layers[0]!.gateUp.first, 3, 6))
}

const sheetOf = ({ world, cast }: Trial, hostile: readonly string[]) =>
  new BalanceSheet(world, {
    hostile,
    honest: cast.miners.map(m => m.address).filter(m => !hostile.includes(m)),
    customers: [cast.requester],
  })

/** The message by a wallet, raw, so that it can be sent again as the same message. */
const rawOf = ({ world }: Trial, from: string, { action, tags, data }: DisputeMessage) => ({
  from,
  process: world.network,
  tags: { Action: action, ...tags },
  data: data === undefined ? '' : JSON.stringify(data),
})

describe('a crash', () => {
  it('at every step of every message: parties begin from nothing, messages come twice, nothing changes', async () => {
    const trial = await open()
    const { world, job } = trial
    const lie = await wrongWeight(trial)
    const [first] = seated(trial.cast, job)
    const sheet = sheetOf(trial, [first!.address])
    const [liar, honest] = await trial.computeWith([lie])
    const again = { job, state: world.entry('jobs', job) }
    for (const side of trial.sides.values()) {
      const result = trial.resultOf(side.run, side.result)
      expect((await side.miner.commit(job, result)).code).toBe('already-committed')
      expect((await side.miner.reveal(job, result)).code).toBe('already-revealed')
    }
    expect(world.entry('jobs', job)).toBe(again.state)

    // It has opened, and does not know it yet when it comes back: both disputes end with the conviction.
    const challenger = honest!.miner.address
    const opened = await trial.accuse(challenger, liar!, await trial.run(trial.bundle))
    const twice = await trial.accuse(challenger, liar!, await trial.run(trial.bundle))
    const { id } = opened
    let messages = 0
    for (let view = world.dispute(id); view.state === 'running'; view = world.dispute(id)) {
      const compose = async () => {
        if (view.turn === 'accused') return accusedAnswer(view, await wrongWeight(trial))
        const said = trial.said(view.accused)
        const accused = { result: liar!.result, answers: said }
        return challengerMove(view, await trial.run(trial.bundle), accused)
      }
      const message = await compose()
      expect(await compose()).toEqual(message)
      const raw = rawOf(trial, view.turn === 'accused' ? view.accused : challenger, message)
      const taken = await world.raw(raw)
      expect(taken.code).toBeUndefined()
      const after = JSON.stringify([world.published.network.disputes, world.published.network.accounts])
      expect((await world.raw({ ...raw, id: taken.id })).code).toBe('duplicate')
      expect(['not-your-move', 'unknown-dispute']).toContain((await world.raw(raw)).code)
      expect(JSON.stringify([world.published.network.disputes, world.published.network.accounts])).toBe(after)
      messages++
    }
    expect(messages).toBeGreaterThan(4)
    expect([world.dispute(id).state, world.dispute(twice.id).state]).toEqual(['proven', 'moot'])
    await trial.finish()
    expect(sheet.close().hostile).toBe(-BOND)
    expect(sheet.gain(challenger)).toBe(WAGE + REWARD)
  })
})

describe('an honest miner that loses its disk and keeps its wallet', () => {
  it('commits, reveals and answers identically, and has its wage', async () => {
    const trial = await open()
    const { world, job, cast } = trial
    const network = world.network as ProcessId
    const seed = new Uint8Array(32).fill(7)
    const hostile = await outsider(trial, 'hostile')
    const sheet = sheetOf(trial, [hostile])
    const [miner] = seated(cast, job)
    /** Everything from the wallet and the job, each time anew. */
    const remember = async (of: Miner) => {
      const run = await trial.run(trial.bundle)
      const result = trial.resultOf(run, resultOf(run))
      const salt = commitmentSalt(saltKey(seed), network, job as JobId)
      const root = resultRoot(network, world.job(job), result)
      const commitment = commitmentOf(network, job as JobId, of.address as Address, salt, root)
      return { run, result, salt, commitment }
    }
    const before = await remember(miner!)
    await miner!.act('Commit', {
      Job: job,
      'Output-Commitment': before.commitment,
      'Prompt-Tokens': before.result.promptTokens,
    })
    for (let i = 0; i < 40 && world.job(job).state !== 'revealing'; i++) {
      const [next] = seated(cast, job)
      if (next) await next.commit(job, before.result)
      else await tick(cast)
    }
    const after = await remember(miner!)
    expect(after.commitment).toBe(before.commitment)
    expect((await miner!.reveal(job, after.result, { Salt: after.salt })).code).toBeUndefined()
    for (const other of seated(cast, job, ['committed'])) await other.reveal(job, before.result)
    expect(world.job(job).state).toBe('agreed')

    const side: Side = { miner: miner!, run: after.run, result: resultOf(after.run) }
    const wrong = await wrongWeight(trial)
    const opened = await trial.send(hostile, trial.opening(side, wrong, after.run))
    for (let view = world.dispute(opened.id); view.state === 'running'; view = world.dispute(opened.id)) {
      if (view.turn === 'accused') {
        const answer = accusedAnswer(view, (await remember(miner!)).run)
        expect(answer).toEqual(accusedAnswer(view, before.run))
        expect((await trial.send(miner!.address, answer)).code).toBeUndefined()
      } else {
        const played = await trial.play(opened.id, wrong, side)
        expect(['refuted', 'abandoned']).toContain(played.view.state)
      }
    }
    await trial.finish()
    expect(sheet.close().hostile).toBe(-DISPUTE_BOND)
    expect(sheet.gain(miner!.address)).toBe(WAGE + DISPUTE_BOND / 2n)
  })
})

describe('a seat that copies the commitment of another', () => {
  it('cannot open the copied commitment, and loses its bond because it does not reveal', async () => {
    const trial = await open()
    const { world, job, cast } = trial
    const [original, copycat] = seated(cast, job)
    const sheet = sheetOf(trial, [copycat!.address])
    const result = trial.resultOf(trial.honest, resultOf(trial.honest))
    await original!.commit(job, result)
    const seen = world.job(job).seats.find(s => s.miner === original!.address)!.commitment!
    await copycat!.act('Commit', {
      Job: job,
      'Output-Commitment': seen,
      'Prompt-Tokens': result.promptTokens,
    })
    for (let i = 0; i < 40 && world.job(job).state !== 'revealing'; i++) {
      const [next] = seated(cast, job)
      if (next) await next.commit(job, result)
      else await tick(cast)
    }
    await original!.reveal(job, result)
    for (const salt of [original!.salt(job), copycat!.salt(job)])
      expect((await copycat!.reveal(job, result, { Salt: salt })).code).toBe('reveal-mismatch')
    for (const other of seated(cast, job, ['committed']))
      if (other !== copycat) await other.reveal(job, result)
    await world.pass(100 * MINUTE)
    await trial.finish()
    expect(sheet.close().hostile).toBe(-BOND)
    expect(sheet.gain(original!.address)).toBe(WAGE)
  })
})

describe('a replay', () => {
  it('of a Credit-Notice, by its id or by the number that the token gave it, credits nothing', async () => {
    const { world, miners } = await setUp({ miners: 1, purse: PURSE })
    const { address } = miners[0]!
    world.delivering = false
    await world.pay(address, PURSE, 'Deposit')
    const notice = world.flying.find(m => m.tags.Action === 'Credit-Notice')!
    const { from, to: process, tags, data } = notice
    const raw = { from, owner: UNIT, process, data, tags: { 'From-Process': from, ...tags } }
    world.flying.splice(world.flying.indexOf(notice), 1)
    const { id } = await world.raw({ ...raw, id: digestOf('notice') })
    expect(world.account(address)).toBe(PURSE)
    await world.raw({ ...raw, id })
    await world.raw(raw)
    expect(world.account(address)).toBe(PURSE)
    world.delivering = true
    await world.deliver()
  })

  it('of a result of another job, process or machine opens no commitment', async () => {
    const trial = await open()
    const other = await Trial.submit(trial.cast, trial.bundle)
    const { world, job, cast } = trial
    const [miner] = seated(cast, job)
    const result = trial.resultOf(trial.honest, resultOf(trial.honest))
    const view = world.job(job)
    const network = world.network as ProcessId
    const of = (process: ProcessId, id: JobId, salt: string, as: typeof view) =>
      commitmentOf(process, id, miner!.address as Address, salt, resultRoot(process, as, result))
    const salt = miner!.salt(job)
    const elsewhere = addressOf('another process') as ProcessId
    const commitments = [
      of(elsewhere, view.id, salt, view),
      of(network, other.job as JobId, salt, world.job(other.job)),
      of(network, view.id, salt, { ...view, class: 'apus-machine-2' }),
    ]
    const everybody = cast.miners.map(m => m.address)
    const sheet = sheetOf(trial, everybody)
    for (const [i, seat] of seated(cast, job).entries())
      await seat.act('Commit', {
        Job: job,
        'Output-Commitment': commitments[i]!,
        'Prompt-Tokens': result.promptTokens,
      })
    await tick(cast)
    const [audit] = seated(cast, job)
    await audit!.act('Commit', {
      Job: job,
      'Output-Commitment': commitments[2]!,
      'Prompt-Tokens': result.promptTokens,
    })
    expect(world.job(job).state).toBe('revealing')
    for (const seat of seated(cast, job, ['committed']))
      expect((await seat.reveal(job, result)).code).toBe('reveal-mismatch')
    await world.pass(150 * MINUTE)
    expect(world.job(job)).toMatchObject({ state: 'expired', code: 'no-reveals' })
    expect(sheet.close().hostile).toBe(-3n * BOND)
  })

  it('of an answer in another dispute, position or job is refused; two proofs at once convict once', async () => {
    const trial = await open()
    const { world, cast } = trial
    const other = await Trial.submit(cast, trial.bundle, { promptLength: 6 })
    const rivals = [await outsider(trial, 'first rival'), await outsider(trial, 'second rival')]
    const [first] = seated(cast, trial.job)
    const sheet = sheetOf(trial, [first!.address])
    const [liar] = await trial.computeWith([await wrongWeight(trial)])
    await other.compute()
    const leaves = liar!.run
    const ids: string[] = []
    for (const rival of rivals) {
      const opened = await trial.accuse(rival, liar!, trial.honest, leaves)
      expect(opened.code).toBeUndefined()
      ids.push(opened.id)
    }
    const untilStages = {
      stall: true,
      tamper: (_: unknown, m: DisputeMessage) => (m.action === 'Answer-Stages' ? undefined : m),
    }
    await trial.play(ids[0]!, trial.honest, liar!, untilStages)
    const view = world.dispute(ids[0]!)
    expect(view.moves).toEqual(['Answer-Stages'])
    for (const [run, position] of [
      [liar!.run, view.position! + 1],
      [other.honest, view.position! + 1],
    ] as const) {
      const answer = accusedAnswer({ ...view, position }, run)
      expect((await trial.send(liar!.miner.address, answer)).code).toMatch(/^wrong-/)
    }
    const untilProof = {
      stall: true,
      tamper: (_: unknown, m: DisputeMessage) => (m.action === 'Prove-Step' ? undefined : m),
    }
    for (const id of ids) {
      await trial.play(id, trial.honest, liar!, untilProof)
      expect(world.dispute(id).moves).toContain('Prove-Step')
    }
    const said = trial.said(liar!.miner.address)
    const proofs = ids.map(id =>
      challengerMove(world.dispute(id), reading(trial.honest, liar!.run.tokens), {
        result: liar!.result,
        answers: said,
      }),
    )
    const codes: (string | undefined)[] = []
    for (const [i, proof] of proofs.entries()) codes.push((await trial.send(rivals[i]!, proof)).code)
    expect(codes).toEqual([undefined, 'unknown-dispute'])
    expect(ids.map(id => world.dispute(id).state)).toEqual(['proven', 'moot'])
    await trial.finish()
    await other.finish()
    const wage = world.job(other.job).seats.find(s => s.miner === first!.address)?.paid ?? '0'
    expect(sheet.gain(first!.address)).toBe(-BOND + BigInt(wage))
    expect(rivals.map(rival => world.account(rival))).toEqual([PURSE + REWARD, PURSE])
  })
})
