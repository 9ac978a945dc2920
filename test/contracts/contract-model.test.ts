import { ENDED, type JobId, type JobView } from '@apus/shared/protocol'
import { expect, it } from 'vitest'
import { ContractModel, WINDOWS } from '../support/contract-model.ts'
import { APUS, type Outcome } from '../support/contracts.ts'
import { JOB_TAGS, setUp } from '../support/contracts-cast.ts'
import { type Random, seededRandom } from '../support/random.ts'

const WORLDS = 3
const MOVES = 250
const SECOND = 1_000
const PAUSES = [0, 0, 1, 30, 90, 600].map(seconds => seconds * SECOND)
const PARAMETERS = {
  drawTimeout: WINDOWS.draw,
  drawRetry: WINDOWS.drawRetry,
  commitWindow: WINDOWS.commit,
  commitWindowPerToken: 0,
  revealWindow: WINDOWS.reveal,
  disputeWindow: WINDOWS.dispute,
  // Nothing is forgotten, and no message flies to the token and back.
  retention: 30 * 86_400 * SECOND,
  burnBatch: String(1_000_000n * APUS),
}

/** What both must agree on; money and the names of miners are the contract's alone. */
const looked = ({ state, deadline, finalAt, seats }: JobView) => ({
  state,
  deadline: ENDED.includes(state) ? undefined : deadline,
  finalAt,
  seats: seats.map(seat => ({ state: seat.state, draw: seat.draw, audit: seat.audit })),
})

/** Plays one world and the model beside it, and compares all jobs after every message. */
async function play(random: Random, reached: Set<string>): Promise<void> {
  const { world, requester, miners } = await setUp({ miners: 4, parameters: PARAMETERS })
  await world.pay(requester, 9_000n * APUS, 'Deposit')
  const model = new ContractModel(world.now)
  /** By their id in the contract: the model's id, and the seats before the message in hand. */
  const jobs = new Map<string, { readonly id: JobId; seats: JobView['seats'] }>()

  /** The contract takes a message and then the model, whose draws give as many seats as the contract's. */
  async function both(send: () => Promise<Outcome>, follow: (sent: Outcome) => void): Promise<void> {
    const sent = await send()
    expect(sent.error).toBeUndefined()
    follow(sent)
    for (const [name, job] of jobs) {
      const view = world.job(name)
      expect(looked(model.view(job.id))).toEqual(looked(view))
      job.seats = view.seats
      reached.add(view.code ?? view.state)
      for (const seat of view.seats) reached.add(`${seat.audit ? 'audit ' : ''}${seat.state} ${seat.draw}`)
    }
  }
  const submit = () => {
    const redundancy = 1 + random.below(5)
    const tags = { ...JOB_TAGS, 'X-Redundancy': String(redundancy) }
    return both(
      () => world.send(requester, world.network, 'Submit-Job', tags, 'prompt'),
      ({ id, code }) => {
        expect(code).toBeUndefined()
        const candidates = () => world.job(id).seats.length - (jobs.get(id)?.seats.length ?? 0)
        jobs.set(id, { id: model.submit(world.now, id, redundancy, { candidates, audit: true }), seats: [] })
      },
    )
  }

  for (let move = 0; move < MOVES; move++) {
    world.now += random.pick(PAUSES)
    const [name, job] = jobs.size > 0 ? random.pick([...jobs].slice(-4)) : []
    const place = random.below(job?.seats.length ?? 0)
    const miner = miners.find(({ address }) => address === job?.seats[place]?.miner)
    const kind = random.below(8)
    if (kind === 0) await submit()
    else if (kind === 1 || !name || !job || !miner)
      await both(
        () => world.send(requester, world.network, 'Tick'),
        () => model.message(world.now),
      )
    else {
      const modelled = model.view(job.id).seats[place]!.miner
      if (kind < 5)
        await both(
          () => miner.commit(name),
          () => model.commit(world.now, job.id, modelled),
        )
      else
        await both(
          () => miner.reveal(name),
          () => model.reveal(world.now, job.id, modelled),
        )
    }
  }
}

it('the model of the contract brings every job where the contract does', async () => {
  const reached = new Set<string>()
  for (let seed = 1; seed <= WORLDS; seed++) await play(seededRandom(seed), reached)
  for (const end of [
    'settled',
    'too-few-miners',
    'no-commitments',
    'no-reveals',
    'missed 2',
    'audit missed 2',
  ])
    expect(reached).toContain(end)
})
