import type { Wallet } from '@apus/shared/arweave'
import { type DisputeMessage, openingMove } from '@apus/shared/dispute'
import { bundleLayout, decodeManifest } from '@apus/shared/machine'
import { checkProof } from '@apus/shared/proofs'
import { type Address, address, commitmentOf, id32, processId, tokensKey } from '@apus/shared/protocol'
import { expect, it } from 'vitest'
import { type ProofFile, readProof } from '../../shared/src/proofs/proof-file.ts'
import { seatAnswerKey } from '../../shared/src/protocol/dispute.ts'
import { testWallet } from '../support/ao-units.ts'
import { digestOf } from '../support/contracts.ts'
import { altered } from '../support/dispute/altered.ts'
import { flipBit } from '../support/dispute/flip.ts'
import { stoppedAt, withWrongPiece } from '../support/dispute/lies.ts'
import { keyOf, signedBy } from '../support/dispute/signed-by.ts'
import { type Side, Trial } from '../support/dispute/trial.ts'
import { listingOf } from '../support/listed-bundle.ts'

/** What every proof file says of the job and of the accused. */
function claimOf({ world, job, bundle }: Trial, { miner, result }: Side) {
  const { manifest, path } = listingOf(bundle)
  const view = world.job(job)
  const { id, model, sampler, stop, maxTokens, promptTokens } = view
  return {
    v: 1,
    network: world.network,
    job: { id, class: view.class, model, sampler, stop, maxTokens, promptTokens },
    manifest: { leaf: manifest, path },
    accused: miner.address,
    statement: result,
    resultRoot: view.seats.find(seat => seat.miner === miner.address)!.resultRoot,
    tokens: world.entry('tokens', tokensKey(job, result)),
  }
}

const read = (file: unknown): ProofFile => readProof(JSON.stringify(file))

/** Changes one field, named by its path, of a copy. */
function tampered(file: object, path: string, value: unknown): unknown {
  const copy = structuredClone(file) as unknown as Record<string, unknown>
  const names = path.split('.')
  const last = names.pop()!
  const holder = names.reduce((at, name) => at[name] as Record<string, unknown>, copy)
  holder[last] = typeof value === 'function' ? value(holder[last]) : value
  return copy
}

/** Changes a field of a JSON text. */
const inText = (path: string, change: (text: string) => unknown) => (text: string) =>
  JSON.stringify(tampered(JSON.parse(text), path, change))

const turned = (text: string) => {
  const bytes = Buffer.from(text, 'base64')
  bytes[bytes.length - 1]! ^= 1
  return bytes.toString('base64')
}

async function codeOf(file: unknown): Promise<string | undefined> {
  try {
    await checkProof(read(file))
    return undefined
  } catch (error) {
    return (error as { code?: string }).code
  }
}

async function refuses(
  file: ProofFile,
  tampers: readonly (readonly [path: string, value: unknown, code: string])[],
) {
  for (const [path, value, code] of tampers)
    expect([path, await codeOf(tampered(file, path, value))]).toEqual([path, code])
}

/** But for what the file only tells, any other letter or number in it is refused with a code. */
async function everyChangeIsRefused(file: ProofFile, told: readonly string[] = []) {
  for (const { path, value } of altered(file)) {
    if (!told.includes(path)) expect([path, await codeOf(value)]).toEqual([path, expect.any(String)])
  }
}

/** The file as if the accused were a wallet, with what that wallet has signed. */
async function signed(
  file: ProofFile,
  wallet: Wallet,
  answers: Readonly<Record<string, Readonly<Record<string, string>>>> = {},
) {
  if (file.kind === 'equivocation') throw new TypeError('its messages are others')
  const { network, job, statement: result, resultRoot } = file
  const accused = wallet.address as Address
  const salt = digestOf('a salt')
  const commitment = commitmentOf(network, job.id, accused, salt, resultRoot)
  const Job = job.id
  const commit = { Action: 'Commit', Job, 'Output-Commitment': commitment }
  const reveal = {
    Action: 'Reveal',
    Job,
    Salt: salt,
    Count: String(result.count),
    Finish: result.finish,
    'Token-Digest': result.tokenDigest,
    'Checkpoint-Root': result.checkpointRoot,
    'Kv-Root': result.kvRoot,
    'Answer-Root': result.answerRoot,
  }
  const said: Record<string, unknown> = {}
  for (const [name, tags] of Object.entries(answers)) {
    const { data: _, ...signature } = await signedBy(wallet, network, tags, (file as never)[name])
    said[name] = signature
  }
  return read({
    ...file,
    accused,
    signed: {
      wallet: keyOf(wallet),
      commit: await signedBy(wallet, network, commit),
      reveal: await signedBy(wallet, network, reveal, JSON.stringify({ pieces: ['QQ=='] })),
      ...said,
    },
  })
}

it('a proven step is a file that anyone can check, and a changed file is refused with the name of the check that fails', async () => {
  const trial = await Trial.open()
  const layout = bundleLayout(decodeManifest(trial.bundle.leaf(0)))
  const lie = await trial.run(flipBit(trial.bundle, layout.layers[1]!.gateUp.first, 3, 6))
  const [liar, honest] = await trial.compute(lie)
  const opened = await trial.accuse(honest!.miner.address, liar!, honest!.run, lie)
  const said = new Map<string, string>()
  const { world, job } = trial
  const accused = liar!.miner.address
  const keep = (key: string) => {
    const text = world.entry('evidence', key)
    if (text) said.set(key, text)
  }
  const played = await trial.play(opened.id, honest!.run, liar!, {
    tamper: ({ position = 0, stage = 0, operation = 0 }, message: DisputeMessage) => {
      keep(seatAnswerKey.stages(job, accused, position))
      keep(seatAnswerKey.chunks(job, accused, position, stage, operation))
      return message
    },
  })
  const { position = 0, stage = 0, operation = 0, chunk } = played.view
  const claim = claimOf(trial, liar!)
  const file = read({
    kind: 'step',
    ...claim,
    job: { ...claim.job, promptLength: world.job(job).promptLength },
    dispute: id32.parse(opened.id),
    challenger: address.parse(honest!.miner.address),
    position,
    stage,
    operation,
    chunk,
    stages: said.get(seatAnswerKey.stages(job, accused, position)),
    value: JSON.parse(said.get(seatAnswerKey.chunks(job, accused, position, stage, operation))!),
    proof: played.messages.at(-1)!.data,
  })
  const story = await checkProof(file)
  expect(story).toMatchObject({
    guilty: true,
    token: 'chosen token 3',
    place: 'layer 2',
    operation: 'gate_up.0',
  })
  expect(story.lines.join('\n')).toContain('At chosen token 3 (position 6), in layer 2, operation gate_up.0')
  await refuses(file, [
    ['manifest.path', '', 'wrong-manifest'],
    ['statement.count', 5, 'wrong-result-root'],
    ['accused', 'nobody', 'bad-data'],
    ['stages', inText('checkpoint.path', () => ''), 'wrong-checkpoint'],
    ['stages', inText('digests', turned), 'wrong-stages'],
    ['stages', inText('operations', () => ''), 'wrong-operations'],
    ['stages', '{}', 'bad-data'],
    ['operations', '{}', 'wrong-operations'],
    ['value.values', turned, 'wrong-chunks'],
    ['proof.inputs', [], 'wrong-inputs'],
    ['proof.inputs.0.leaf', turned, 'wrong-path'],
    ['chunk', 9999, 'out-of-range'],
  ])

  const wallet = await testWallet()
  const about = { Action: 'Answer-Stages', Dispute: opened.id, Job: job, Position: String(position) }
  const whole = await signed(file, wallet, { stages: about })
  expect(await checkProof(whole)).toMatchObject({ guilty: true, signed: true })
  await everyChangeIsRefused(whole, ['dispute', 'challenger'])
  const other = await signed(file, wallet, { stages: { ...about, Position: String(position + 1) } })
  expect(await codeOf(other)).toBe('wrong-message')
  const elsewhere = await signed({ ...file, network: processId.parse(digestOf('elsewhere')) }, wallet, {
    stages: about,
  })
  expect(await codeOf({ ...whole, signed: (elsewhere as typeof whole).signed })).toBe('bad-signature')
  const foreign = { ...whole, accused: liar!.miner.address }
  expect(await codeOf(foreign)).toBe('wrong-wallet')
})

it.each([
  ['structure', 'structure', (trial: Trial) => stoppedAt(trial.honest, 2, 0)],
  ['answer', 'answer', (trial: Trial) => withWrongPiece(trial.honest, 1, Buffer.from('lie'))],
] as const)('a proof of %s in one message is a file too', async (kind, operation, lieOf) => {
  const trial = await Trial.open()
  const [liar, honest] = await trial.compute(lieOf(trial))
  const accused = liar!.miner.address
  let message = openingMove(honest!.run, {
    job: trial.job,
    accused,
    result: liar!.result,
    leaves: liar!.run,
  })!
  const sent = await trial.send(honest!.miner.address, message)
  expect(sent.code).toBeUndefined()
  if (message.action === 'Open-Dispute') {
    const played = await trial.play(sent.id, honest!.run, liar!)
    message = played.messages.at(-1)!
  }
  const seat = trial.world.job(trial.job).seats.find(({ miner }) => miner === accused)!
  expect(seat.slashed).toBeDefined()
  const index = Number(message.tags.Index)
  const file = read({ kind, ...claimOf(trial, liar!), index, proof: message.data })
  const story = await checkProof(file)
  expect(story).toMatchObject({ guilty: true, token: 'chosen token 2', operation })
  expect(story.lines.at(-2)).toContain('at fault')
  const path = kind === 'structure' ? 'proof.leaf' : 'proof.piece.leaf'
  await refuses(file, [
    [path, turned, 'wrong-path'],
    ['index', 0, 'wrong-path'],
    ['resultRoot', seat.commitment, 'wrong-result-root'],
    ['manifest.leaf', turned, 'wrong-manifest'],
  ])
  await everyChangeIsRefused(await signed(file, await testWallet()))
})
