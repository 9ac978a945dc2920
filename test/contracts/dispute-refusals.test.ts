import { accusedAnswer, type DisputeMessage } from '@apus/shared/dispute'
import { merkleLeaf } from '@apus/shared/hashing'
import { bundleLayout, checkpointLeaf, decodeManifest } from '@apus/shared/machine'
import { expect, it } from 'vitest'
import { merklePath } from '../../shared/src/hashing/merkle.ts'
import { pieceLeaf } from '../../shared/src/machine/digests.ts'
import { APUS, addressOf, digestOf } from '../support/contracts.ts'
import { flipBit } from '../support/dispute/flip.ts'
import { withWrongRow } from '../support/dispute/lies.ts'
import { DEEP_SHAPE, TRIAL_SHAPE, Trial } from '../support/dispute/trial.ts'

const HASH = Buffer.alloc(32).toString('base64')

it('refuses whatever does not fit, names the check, and leaves the dispute and its clocks as they were', async () => {
  const trial = await Trial.open()
  const layout = bundleLayout(decodeManifest(trial.bundle.leaf(0)))
  const lie = await trial.run(flipBit(trial.bundle, layout.layers[1]!.gateUp.first, 3, 6))
  const [liar, honest] = await trial.compute(lie)
  const { world, job } = trial
  const accused = liar!.miner.address
  const challenger = honest!.miner.address
  const opening = await trial.openingOf(honest!, liar!)
  const { prompt } = opening.data as { prompt: { count: number; leaf: string; path: string } }
  const open = (tags: Record<string, string>, data: unknown = { prompt }, from = challenger) =>
    trial
      .send(from, { action: 'Open-Dispute', tags: { Job: job, Accused: accused, ...tags }, data })
      .then(o => o.code)

  expect(await open({ Position: '1' }, {})).toBe('no-prompt-length')
  expect(await open({ Position: '1' }, { prompt: { ...prompt, count: 2 } })).toBe('wrong-prompt')
  expect(await open({ Position: '1' }, { prompt: { ...prompt, leaf: '!' } })).toBe('bad-data')
  expect(await open({})).toBe('bad-tag')
  expect(await open({ Position: '1', Tree: 'pages' })).toBe('bad-tag')
  expect(await open({ Position: '8' })).toBe('bad-tag')
  expect(await open({ Page: '4' })).toBe('bad-tag')
  expect(await open({ Tree: 'bundle' })).toBe('bad-tag')
  expect(await open({ Position: '1', Accused: digestOf('nobody') })).toBe('not-revealed')
  expect(await open({ Position: '1', Job: digestOf('none') })).toBe('unknown-job')
  expect(await open({ Position: '1' }, { prompt }, accused)).toBe('own-seat')
  expect(await open({ Position: '1' }, { prompt }, addressOf('penniless'))).toBe('underpaid')
  expect(await open({ Position: '1' }, { prompt, more: 'x'.repeat(66_000) })).toBe('too-large')
  expect(world.job(job).promptLength).toBeUndefined()

  const opened = await trial.accuse(challenger, liar!, honest!.run)
  const id = opened.id
  const view = () => world.dispute(id)
  const refuses = async (by: string, message: DisputeMessage, code: string) => {
    const before = world.entry('disputes', id)
    const sent = await trial.send(by, { ...message, tags: { Dispute: id, ...message.tags } })
    expect([message.action, sent.code]).toEqual([message.action, code])
    expect(world.entry('disputes', id)).toBe(before)
  }
  const answer = () => accusedAnswer(view(), lie)
  const accept = async (by: string, message: DisputeMessage) =>
    expect((await trial.send(by, message)).code).toBeUndefined()
  const pick = (action: DisputeMessage['action'], tag: string, value: string): DisputeMessage => ({
    action,
    tags: { Dispute: id, [tag]: value },
  })

  await refuses(challenger, answer(), 'not-your-move')
  await refuses(accused, pick('Pick-Node', 'Node', '0'), 'not-your-move')
  await refuses(accused, { ...answer(), tags: { Dispute: digestOf('other') } }, 'unknown-dispute')
  await refuses(accused, { ...answer(), data: { nodes: HASH } }, 'wrong-nodes')
  await refuses(accused, { ...answer(), data: { nodes: HASH.repeat(0) } }, 'wrong-nodes')
  await refuses(accused, { ...answer(), data: { nodes: 'AAAA' } }, 'bad-data')
  await refuses(accused, { ...answer(), data: [] }, 'bad-data')
  await accept(accused, answer())
  await refuses(accused, { ...pick('Pick-Node', 'Node', '0') }, 'not-your-move')
  await refuses(challenger, pick('Pick-Node', 'Node', '4'), 'out-of-range')
  await accept(challenger, pick('Pick-Node', 'Node', '0'))

  const stages = answer()
  const { digests, operations, checkpoint, piece } = stages.data as Record<string, unknown>
  for (const wrong of [{ Position: '5' }, { Job: digestOf('other') }, { Job: undefined }]) {
    const tags = { ...stages.tags, ...wrong } as DisputeMessage['tags']
    await refuses(accused, { ...stages, tags }, 'wrong-question')
  }
  await refuses(accused, { ...stages, data: { digests, piece } }, 'bad-data')
  await refuses(accused, { ...stages, data: { digests: HASH, checkpoint, piece } }, 'wrong-stages')
  await refuses(accused, { ...stages, data: { digests, checkpoint: piece, piece } }, 'wrong-checkpoint')
  await refuses(accused, { ...stages, data: { digests, checkpoint, piece: checkpoint } }, 'wrong-checkpoint')
  const other = Buffer.from(digests as string, 'base64')
  other[other.length - 1]! ^= 1
  await refuses(
    accused,
    { ...stages, data: { digests: other.toString('base64'), checkpoint, piece } },
    'wrong-stages',
  )
  const without = { ...(stages.data as object), operations: undefined }
  await refuses(accused, { ...stages, data: without }, 'bad-data')
  const mixed = Buffer.from(operations as string, 'base64')
  const more = Buffer.concat([mixed, Buffer.alloc(32)])
  mixed[mixed.length - 1]! ^= 1
  for (const text of [HASH, mixed.toString('base64'), more.toString('base64')]) {
    await refuses(accused, { ...stages, data: { ...without, operations: text } }, 'wrong-operations')
  }
  await refuses(
    accused,
    { ...stages, data: { ...(stages.data as object), advice: 'AAAA' } },
    'wrong-operations',
  )
  const { id: brought } = await trial.send(accused, stages)
  expect(world.entry('evidence', `${job}.${accused}.stages.4.message`)).toBe(brought)
  const at = (stage: string, operation: string): DisputeMessage => ({
    action: 'Pick-Operation',
    tags: { Dispute: id, Stage: stage, Operation: operation },
  })
  await refuses(challenger, pick('Pick-Stage', 'Stage', '1'), 'not-your-move')
  await refuses(challenger, pick('Pick-Operation', 'Operation', '6'), 'bad-tag')
  await refuses(challenger, at('4', '0'), 'out-of-range')
  await refuses(challenger, at('-1', '0'), 'bad-tag')
  await refuses(challenger, at('1', '99'), 'out-of-range')
  // The attention to the page, in the first layer.
  await accept(challenger, at('1', '6'))
  expect(world.entry('evidence', `${job}.${accused}.operations.4.1`)).toContain('digests')
  expect(world.entry('evidence', `${job}.${accused}.operations.4.1.message`)).toBeUndefined()

  await refuses(accused, { ...answer(), data: { leaves: HASH } }, 'wrong-chunks')
  await refuses(
    accused,
    { ...answer(), data: { leaves: Buffer.alloc(128).toString('base64') } },
    'wrong-chunks',
  )
  await accept(accused, answer())
  await refuses(challenger, { ...pick('Prove-Step', 'Chunk', '9'), data: { inputs: [] } }, 'out-of-range')
  await refuses(challenger, { ...pick('Prove-Step', 'Chunk', '0'), data: { inputs: [] } }, 'wrong-inputs')
  const wrong = { leaf: HASH, path: '' }
  await refuses(challenger, { ...pick('Prove-Step', 'Chunk', '0'), data: { inputs: [wrong] } }, 'wrong-path')
  const played = await trial.play(id, honest!.run, liar!)
  expect(played.view.state).toBe('abandoned')
})

it('takes no pages but those under the root, and no row that was never fed', async () => {
  const trial = await Trial.open()
  const lie = withWrongRow(trial.honest, 0, 1)
  const [liar, honest] = await trial.compute(lie)
  const [accused, challenger] = [liar!.miner.address, honest!.miner.address]
  const opening = trial.opening(liar!, honest!.run, lie)
  expect(opening.tags).toHaveProperty('Page')
  const { id } = await trial.send(challenger, opening)
  const sends = async (by: string, message: DisputeMessage) => (await trial.send(by, message)).code
  const row = (value: number): DisputeMessage => ({
    action: 'Pick-Row',
    tags: { Dispute: id, Row: String(value) },
  })
  const answer = accusedAnswer(trial.world.dispute(id), lie)
  const { k, v, path } = answer.data as Record<string, string>
  for (const data of [
    { k, v: k, path },
    { k: HASH, v, path },
    { k, v, path: HASH },
  ])
    expect(await sends(accused, { ...answer, data })).toBe('wrong-pages')
  expect(await sends(accused, answer)).toBeUndefined()
  const fed = trial.request.prompt.length + lie.tokens.length - 1
  expect(await sends(challenger, row(fed))).toBe('out-of-range')
  expect(await sends(challenger, row(64))).toBe('out-of-range')
  const played = await trial.play(id, honest!.run, liar!)
  expect(played.view.state).toBe('proven')
})

it('asks stage by stage for the operations of a model with many layers', async () => {
  const trial = await Trial.open({ shape: DEEP_SHAPE, maxTokens: 2, promptLength: 2 })
  const layout = bundleLayout(decodeManifest(trial.bundle.leaf(0)))
  const wrong = flipBit(trial.bundle, layout.layers[40]!.gateUp.first, 3, 6)
  const lie = await trial.run(wrong)
  const [liar, honest] = await trial.compute(lie)
  const { data } = trial.opening(liar!, honest!.run, lie)
  const tags = { Job: trial.job, Accused: liar!.miner.address, Position: '0' }
  const opened = await trial.send(honest!.miner.address, { action: 'Open-Dispute', tags, data })
  const { world } = trial
  const send = async (message: DisputeMessage) => {
    const { turn } = world.dispute(opened.id)
    const by = turn === 'accused' ? liar! : honest!
    return (await trial.send(by.miner.address, message)).code
  }
  const answer = () => accusedAnswer(world.dispute(opened.id), lie)
  const stage = (value: string): DisputeMessage => ({
    action: 'Pick-Stage',
    tags: { Dispute: opened.id, Stage: value },
  })
  expect(await send(answer())).toBeUndefined()
  expect(await send(stage('68'))).toBe('out-of-range')
  expect(await send(stage('-1'))).toBe('bad-tag')
  expect(await send(stage('41'))).toBeUndefined()
  const operations = answer()
  const { digests } = operations.data as { digests: string }
  const mixed = Buffer.from(digests, 'base64')
  mixed[mixed.length - 1]! ^= 1
  for (const data of [
    { digests: HASH },
    { digests: mixed.toString('base64') },
    { digests, advice: 'AAAA' },
  ]) {
    expect(await send({ ...operations, data })).toBe('wrong-operations')
  }
  const played = await trial.play(opened.id, honest!.run, liar!)
  expect(played.view.state).toBe('proven')
  expect(played.messages.map(m => m.action)).toEqual([
    'Answer-Operations',
    'Pick-Operation',
    'Answer-Chunks',
    'Prove-Step',
  ])
  for (const [move, state] of [
    ['Pick-Stage', 'abandoned'],
    ['Answer-Operations', 'silent'],
  ] as const) {
    const again = await Trial.submit(trial.cast, trial.bundle, {
      shape: DEEP_SHAPE,
      maxTokens: 2,
      promptLength: 2,
    })
    const [second, other] = await again.compute(await again.run(wrong))
    const dispute = await again.accuse(other!.miner.address, second!, other!.run, second!.run)
    const silent = await again.play(dispute.id, other!.run, second!, {
      tamper: (_, message) => (message.action === move ? undefined : message),
    })
    expect(silent.view.state).toBe(state)
  }
})

it('refuses proofs in one message that prove nothing', async () => {
  const trial = await Trial.open()
  const [seat] = await trial.compute()
  const { job } = trial
  const run = trial.honest
  const text = (bytes: Uint8Array) => Buffer.from(bytes).toString('base64')
  const proven = (leaf: Uint8Array, hashes: readonly Uint8Array[], at: number) => ({
    leaf: text(leaf),
    path: text(Buffer.concat(merklePath(hashes, at))),
  })
  const checkpoint = proven(run.checkpoints[1]!, run.checkpoints.map(checkpointLeaf), 1)
  const piece = proven(run.pieces[1]!, run.pieces.map(pieceLeaf), 1)
  const leaves = trial.bundle.leaves.map(leaf => merkleLeaf('apus.machine.1/bundle', leaf))
  const at = bundleLayout(decodeManifest(trial.bundle.leaf(0))).pieces + (run.tokens[1]! >> 6)
  const pieces = proven(trial.bundle.leaf(at), leaves, at)
  const stranger = addressOf('stranger')
  const send = (action: DisputeMessage['action'], Index: string, data: unknown) =>
    trial
      .send(stranger, { action, tags: { Job: job, Accused: seat!.miner.address, Index }, data })
      .then(o => o.code)
  expect(await send('Prove-Structure', '1', checkpoint)).toBe('not-proven')
  expect(await send('Prove-Structure', '0', checkpoint)).toBe('wrong-path')
  expect(await send('Prove-Answer', '1', { piece, pieces })).toBe('not-proven')
  expect(await send('Prove-Answer', '1', { piece, pieces: piece })).toBe('wrong-path')
  const { data } = await trial.openingOf(seat!, seat!)
  const { prompt } = data as { prompt: object }
  expect(await send('Prove-Structure', '0', { ...prompt, tree: 'prompt' })).toBe('not-proven')
  await trial.finish()
  expect(await send('Prove-Structure', '1', checkpoint)).toBe('job-ended')
})

it('takes no manifest but the bundle’s own', async () => {
  const trial = await Trial.open()
  const { world } = trial
  const { listingOf } = await import('../support/listed-bundle.ts')
  const { randomBundle } = await import('../support/machine/random-model.ts')
  const bundle = randomBundle({ ...TRIAL_SHAPE, name: 'second' }, 9)
  const lister = addressOf('second lister')
  await world.send(trial.cast.requester, world.token, 'Transfer', {
    Recipient: lister,
    Quantity: String(100n * APUS),
  })
  await world.pay(lister, 100n * APUS, 'Deposit')
  const list = (data: unknown, tags: Record<string, string> = {}) =>
    world
      .send(
        lister,
        world.network,
        'List-Model',
        {
          Model: bundle.root,
          Class: 'apus-machine-1',
          Name: 'm',
          'Base-Price': '0',
          'Token-Price': '1',
          'Max-Context': '256',
          ...tags,
        },
        JSON.stringify(data),
      )
      .then(o => o.code)
  const listing = listingOf(bundle)
  expect(await list({})).toBe('bad-data')
  expect(await list({ ...listing, manifest: 'AAAA' })).toBe('bad-manifest')
  expect(await list({ ...listing, path: '' })).toBe('bad-manifest')
  expect(await list(listingOf(trial.bundle))).toBe('bad-manifest')
  expect(await list(listing, { 'Max-Context': '257' })).toBe('bad-tag')
  expect(await list(listing)).toBeUndefined()
})
