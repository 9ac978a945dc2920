import { type DisputeMessage, equivocationProof } from '@apus/shared/dispute'
import { type NodeKey, nodeKey } from '@apus/shared/p2p'
import {
  type Address,
  commitmentOf,
  type JobId,
  type ProcessId,
  type Result,
  resultRoot,
  signCommitment,
} from '@apus/shared/protocol'
import { describe, expect, it } from 'vitest'
import { equivocationMessage, type OpenedCommitment } from '../../shared/src/dispute/equivocation.ts'
import { APUS, addressOf, digestOf, type Outcome } from '../support/contracts.ts'
import {
  type Cast,
  commitAll,
  HONEST,
  LIE,
  type Miner,
  revealAll,
  SEAT_PRICE,
  SIGNATURE,
  seated,
  setUp,
  submit,
} from '../support/contracts-cast.ts'

const BOND = SEAT_PRICE * 25n
const PROVER = addressOf('whoever noticed')

const keyOf = (name: string): NodeKey => nodeKey(Uint8Array.from(Buffer.from(digestOf(name), 'base64url')))

const bind = (miner: Miner, key: NodeKey): Promise<Outcome> =>
  miner.act('Register', {
    'Peer-Id': key.peer,
    'Node-Signature': SIGNATURE,
    Expires: String(miner.world.now + 1e10),
  })

/** A network whose miners are bound to keys that can sign, and a job of theirs in which all have committed. */
async function committed(): Promise<{ cast: Cast; job: string }> {
  const cast = await setUp({ miners: 4 })
  for (const miner of cast.miners) await bind(miner, keyOf(miner.address))
  const job = await submit(cast)
  await commitAll(cast, job)
  return { cast, job }
}

const rootOf = (cast: Cast, job: string, result: Result): string =>
  resultRoot(cast.world.network as ProcessId, cast.world.job(job), result)

/** What a miner's key says of a result of the job. */
function say(
  cast: Cast,
  job: string,
  miner: Miner,
  result: Result,
  changes: { key?: NodeKey } = {},
): OpenedCommitment {
  const network = cast.world.network as ProcessId
  const [root, salt] = [rootOf(cast, job, result), miner.salt(job)]
  const commitment = commitmentOf(network, job as JobId, miner.address as Address, salt, root)
  const key = changes.key ?? keyOf(miner.address)
  const statement = { network, job: job as JobId, miner: miner.address as Address, peer: key.peer }
  const signed = signCommitment({ ...statement, commitment: commitment as never }, key.sign)
  return { signed, salt, root }
}

const send = (cast: Cast, message: DisputeMessage, from = PROVER): Promise<Outcome> =>
  cast.world.send(from, cast.world.network, message.action, message.tags, JSON.stringify(message.data))

const prove = (cast: Cast, job: string, accused: string, said: readonly OpenedCommitment[]) =>
  send(cast, equivocationMessage(job, accused, said)).then(o => o.code)

describe('two signed commitments of one key', () => {
  it('convict when one contradicts the reveal; a message that proves nothing is refused with the check that failed', async () => {
    const { cast, job } = await committed()
    const { world } = cast
    const seats = seated(cast, job, ['committed'])
    const [liar, honest, last] = seats as [Miner, Miner, Miner]
    const revealed = await liar.reveal(job)
    await honest.reveal(job)
    const other = say(cast, job, liar, LIE)
    const own = say(cast, job, liar, HONEST)
    const { signed } = other
    const refused: [string, readonly OpenedCommitment[]][] = [
      ['same-root', [own]],
      ['same-root', [other, other]],
      ['wrong-key', [say(cast, job, liar, LIE, { key: keyOf('another key') })]],
      ['wrong-key', [say(cast, job, liar, LIE, { key: keyOf(honest.address) })]],
      ['other-seat', [say(cast, job, honest, LIE)]],
      ['other-seat', [{ ...other, signed: { ...signed, job: digestOf('another job') as JobId } }]],
      ['other-seat', [{ ...other, signed: { ...signed, network: digestOf('elsewhere') as ProcessId } }]],
      ['wrong-opening', [{ ...other, salt: digestOf('another salt') }]],
      ['wrong-opening', [{ ...other, root: digestOf('another root') }]],
      ['bad-signature', [{ ...other, signed: { ...signed, signature: own.signed.signature } }]],
      ['bad-signature', [{ ...other, signed: { ...signed, signature: new Uint8Array(63) } }]],
      ['bad-signature', [other, { ...own, signed: { ...own.signed, signature: signed.signature } }]],
      ['bad-data', []],
      ['bad-data', [other, own, other]],
      ['bad-data', [{ ...other, root: 'short' }]],
    ]
    const before = JSON.stringify(world.published.network.jobs)
    for (const [code, said] of refused) expect(await prove(cast, job, liar.address, said), code).toBe(code)
    const { data } = equivocationMessage(job, liar.address, [other]) as {
      data: { said: [Record<string, string>] }
    }
    const wrongBytes = { said: [{ ...data.said[0], statement: Buffer.from('no CBOR').toString('base64') }] }
    const tags = { Job: job, Accused: liar.address }
    expect((await send(cast, { action: 'Prove-Equivocation', tags, data: wrongBytes })).code).toBe(
      'bad-statement',
    )
    expect(await prove(cast, job, last.address, [say(cast, job, last, LIE)])).toBe('not-revealed')
    expect(await prove(cast, job, addressOf('nobody'), [other])).toBe('not-revealed')
    expect((await send(cast, equivocationMessage(job, liar.address, [other]), liar.address)).code).toBe(
      'own-seat',
    )
    expect(JSON.stringify(world.published.network.jobs)).toBe(before)

    const seatOf = (miner: Miner) => world.job(job).seats.find(s => s.miner === miner.address)!
    // Whoever sees the statement needs the root of any seat that revealed it, and the salt that the liar published.
    await revealAll(cast, job)
    const view = world.job(job)
    expect(
      equivocationProof(world.network as ProcessId, view, seatOf(liar), [signed, own.signed]),
    ).toBeUndefined()
    const [honestSeat] = view.seats.filter(s => s.miner === honest.address)
    const known = { ...view, seats: [seatOf(liar), { ...honestSeat!, resultRoot: other.root as never }] }
    const message = equivocationProof(world.network as ProcessId, known, seatOf(liar), [own.signed, signed])
    const sent = await send(cast, message!)
    expect(sent.code).toBeUndefined()
    expect(seatOf(liar)).toMatchObject({ slashed: String(BOND), messages: { proof: sent.id } })
    expect(seatOf(liar).messages?.reveal).toBe(revealed.id)
    expect(seatOf(honest).messages?.proof).toBeUndefined()
    expect(world.account(PROVER)).toBe((BOND * 3n) / 10n)
    expect(await prove(cast, job, liar.address, [other])).toBe('already-convicted')
    await world.pass(25 * 60_000)
    expect(world.job(job).state).toBe('settled')
    expect(world.miner(liar.address)).toMatchObject({ locked: '0', standing: 0 })
    expect(await prove(cast, job, honest.address, [say(cast, job, honest, LIE)])).toBe('job-ended')
  })

  it('convict together a seat that has not revealed, and the round goes on without it', async () => {
    const { cast, job } = await committed()
    const { world } = cast
    const [liar, ...others] = seated(cast, job, ['committed']) as [Miner, ...Miner[]]
    for (const miner of others) await miner.reveal(job)
    expect(world.job(job).state).toBe('revealing')
    const said = [say(cast, job, liar, HONEST), say(cast, job, liar, LIE)]
    expect(await prove(cast, job, liar.address, said)).toBeUndefined()
    expect(world.job(job)).toMatchObject({ state: 'agreed', agreed: { seats: others.length } })
    expect((await liar.reveal(job)).code).toBe('reveal-too-late')
    await world.pass(25 * 60_000)
    expect(world.job(job).state).toBe('settled')
    expect(world.miner(liar.address)).toMatchObject({ locked: '0' })
  })

  it('count by any key that the wallet was bound to since its stake is locked, and not before all committed', async () => {
    const cast = await setUp({ miners: 4 })
    for (const miner of cast.miners) await bind(miner, keyOf(miner.address))
    const job = await submit(cast)
    await cast.world.send(PROVER, cast.world.network, 'Tick')
    const liar = seated(cast, job)[0] as Miner
    expect((await bind(liar, keyOf('its second key'))).code).toBeUndefined()
    await liar.commit(job)
    const said = [say(cast, job, liar, HONEST, { key: keyOf('its second key') }), say(cast, job, liar, LIE)]
    expect(await prove(cast, job, liar.address, said)).toBe('too-early')
    await commitAll(cast, job)
    // The first key stays bound, so nobody else can have it.
    expect((await bind(cast.miners.find(m => m !== liar)!, keyOf(liar.address))).code).toBe('peer-taken')
    for (const miner of seated(cast, job, ['committed'])) if (miner !== liar) await miner.reveal(job)
    expect(await prove(cast, job, liar.address, said)).toBeUndefined()
    await cast.world.pass(25 * 60_000)
    expect((await bind(cast.miners.find(m => m !== liar)!, keyOf(liar.address))).code).toBeUndefined()
    expect((await bind(liar, keyOf('its third key'))).code).toBeUndefined()
  })

  it('cost the seat its whole wage too, though it has spent its reserve on a dispute', async () => {
    const { cast, job } = await committed()
    const { world } = cast
    await revealAll(cast, job)
    const [liar, accused] = seated(cast, job, ['revealed']) as [Miner, Miner]
    const wage = world.account(liar.address)
    await liar.act('Withdraw', { Quantity: String(wage) })
    const prompt = {
      count: 1,
      leaf: Buffer.from(Uint32Array.of(1, 2, 3).buffer).toString('base64'),
      path: '',
    }
    const tags = { Job: job, Accused: accused.address, Position: '1' }
    const opened = await liar.act('Open-Dispute', tags, JSON.stringify({ prompt }))
    expect(world.miner(liar.address).locked).toBe(String(BOND + SEAT_PRICE))
    expect((await liar.act('Open-Dispute', tags, '{}')).code).toBe('underpaid')
    expect(await prove(cast, job, liar.address, [say(cast, job, liar, LIE)])).toBeUndefined()
    expect(world.account(cast.requester)).toBe(SEAT_PRICE + wage)
    const left = 5_000n * APUS - BOND - wage - SEAT_PRICE * 4n
    expect(world.miner(liar.address)).toMatchObject({ stake: String(left), locked: '0' })
    // What it had opened itself is over as well, and lost.
    expect(world.dispute(opened.id).state).toBe('abandoned')
    await world.pass(11 * 60_000)
    expect(world.miner(liar.address)).toMatchObject({ stake: String(left), locked: '0' })
  })
})
