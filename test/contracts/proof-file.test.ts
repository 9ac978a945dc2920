import {
  address,
  checkProof,
  type DisputeMessage,
  evidenceKey,
  id32,
  openingMove,
  type ProofFile,
  readProof,
} from '@apus/shared'
import { expect, it } from 'vitest'
import { bundleLayout, decodeManifest } from '../../shared/src/machine/index.ts'
import { flipBit } from '../support/dispute/flip.ts'
import { stoppedAt, withWrongPiece } from '../support/dispute/lies.ts'
import { type Side, Trial } from '../support/dispute/trial.ts'
import { listingOf } from '../support/listed-bundle.ts'

/** What every proof file says of the job and of the accused. */
function claimOf({ world, job, bundle }: Trial, { miner, statement }: Side) {
  const { manifest, path } = listingOf(bundle)
  const view = world.job(job)
  const { id, model, sampler, stop, maxTokens, promptTokens, promptLength } = view
  return {
    v: 1,
    network: world.network,
    job: { id, class: view.class, model, sampler, stop, maxTokens, promptTokens, promptLength },
    manifest: { leaf: manifest, path },
    accused: miner.address,
    statement,
    resultRoot: view.seats.find(seat => seat.miner === miner.address)!.resultRoot,
  }
}

const read = (file: unknown): ProofFile => readProof(JSON.stringify(file))

/** Changes one field, named by its path, of a copy. */
function tampered(file: ProofFile, path: string, value: unknown): unknown {
  const copy = structuredClone(file) as unknown as Record<string, unknown>
  const names = path.split('.')
  const last = names.pop()!
  const holder = names.reduce((at, name) => at[name] as Record<string, unknown>, copy)
  holder[last] = typeof value === 'function' ? value(holder[last]) : value
  return copy
}

const turned = (text: string) => {
  const bytes = Buffer.from(text, 'base64')
  bytes[bytes.length - 1]! ^= 1
  return bytes.toString('base64')
}

function refuses(
  file: ProofFile,
  tampers: readonly (readonly [path: string, value: unknown, code: string])[],
) {
  for (const [path, value, code] of tampers) {
    let said: string | undefined
    try {
      checkProof(read(tampered(file, path, value)))
    } catch (error) {
      said = (error as { code?: string }).code
    }
    expect([path, said]).toEqual([path, code])
  }
}

it('a proven step is a file that anyone can check, and that names the check when it was tampered with', async () => {
  const trial = await Trial.open()
  const layout = bundleLayout(decodeManifest(trial.bundle.leaf(0)))
  const lie = await trial.run(flipBit(trial.bundle, layout.layers[1]!.gateUp.first, 3, 6))
  const [liar, honest] = await trial.compute(lie)
  const opened = await trial.accuse(honest!.miner.address, liar!, honest!.run, lie)
  const said = new Map<string, unknown>()
  const { world, job } = trial
  const accused = liar!.miner.address
  const keep = (key: string) => {
    const text = world.entry('evidence', key)
    if (text) said.set(key, JSON.parse(text))
  }
  const played = await trial.play(opened.id, honest!.run, liar!, {
    evidence: lie,
    tamper: ({ position = 0, stage = 0, operation = 0 }, message: DisputeMessage) => {
      keep(evidenceKey.stages(job, accused, position))
      keep(evidenceKey.operations(job, accused, position, stage))
      keep(evidenceKey.chunks(job, accused, position, stage, operation))
      return message
    },
  })
  const { position = 0, stage = 0, operation = 0, chunk } = played.view
  const file = read({
    kind: 'step',
    ...claimOf(trial, liar!),
    dispute: id32.parse(opened.id),
    challenger: address.parse(honest!.miner.address),
    position,
    stage,
    operation,
    chunk,
    stages: said.get(evidenceKey.stages(job, accused, position)),
    operations: said.get(evidenceKey.operations(job, accused, position, stage)),
    value: said.get(evidenceKey.chunks(job, accused, position, stage, operation)),
    proof: played.messages.at(-1)!.data,
  })
  const story = checkProof(file)
  expect(story).toMatchObject({ guilty: true, token: 3, place: 'layer 2', operation: 'gate_up.0' })
  expect(story.lines.join('\n')).toContain('At chosen token 3 (position 6), in layer 2, operation gate_up.0')
  refuses(file, [
    ['manifest.path', '', 'wrong-manifest'],
    ['statement.count', 5, 'wrong-result-root'],
    ['accused', 'nobody', 'bad-data'],
    ['stages.checkpoint.path', '', 'wrong-checkpoint'],
    ['stages.digests', turned, 'wrong-stages'],
    ['operations.digests', turned, 'wrong-operations'],
    ['value.values', turned, 'wrong-chunks'],
    ['proof.inputs', [], 'wrong-inputs'],
    ['proof.inputs.0.leaf', turned, 'wrong-path'],
    ['chunk', 9999, 'out-of-range'],
  ])
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
    statement: liar!.statement,
    evidence: liar!.run,
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
  const story = checkProof(file)
  expect(story).toMatchObject({ guilty: true, token: 2, operation })
  expect(story.lines.at(-1)).toContain('at fault')
  const path = kind === 'structure' ? 'proof.leaf' : 'proof.piece.leaf'
  refuses(file, [
    [path, turned, 'wrong-path'],
    ['index', 0, 'wrong-path'],
    ['resultRoot', seat.commitment, 'wrong-result-root'],
    ['manifest.leaf', turned, 'wrong-manifest'],
  ])
})
