import type { Wallet } from '@apus/shared/arweave'
import { type NodeKey, nodeKey } from '@apus/shared/p2p'
import { checkProof } from '@apus/shared/proofs'
import {
  type Address,
  commitmentOf,
  type JobId,
  type ProcessId,
  resultRoot,
  signCommitment,
} from '@apus/shared/protocol'
import { beforeAll, expect, it } from 'vitest'
import { equivocationMessage, type OpenedCommitment } from '../../../../shared/src/dispute/equivocation.ts'
import { type ProofFile, readProof } from '../../../../shared/src/proofs/proof-file.ts'
import { samplerSettings } from '../../../../shared/src/protocol/sampler.ts'
import { testWallet } from '../../../support/ao-units.ts'
import { digestOf } from '../../../support/contracts.ts'
import { altered } from '../../../support/dispute/altered.ts'
import { keyOf, signedBy } from '../../../support/dispute/signed-by.ts'

const network = digestOf('network') as ProcessId
const job = digestOf('job') as JobId
const [salt, otherSalt, otherRoot] = [digestOf('salt'), digestOf('other salt'), digestOf('other root')]
const statement = {
  count: 2,
  finish: 'stop' as const,
  tokenDigest: digestOf('tokens'),
  checkpointRoot: digestOf('checkpoints'),
  kvRoot: digestOf('K/V'),
  answerRoot: digestOf('answer'),
}
const terms = {
  class: 'apus-machine-1',
  model: digestOf('model'),
  sampler: samplerSettings.parse({}),
  stop: ['\n'],
  maxTokens: 4,
  promptTokens: digestOf('prompt'),
}
const root = resultRoot(network, { id: job, ...terms } as never, {
  promptTokens: terms.promptTokens,
  ...statement,
})
const key = nodeKey(Uint8Array.from(Buffer.from(digestOf('node key'), 'base64url')))
let wallet: Wallet
let accused: Address

beforeAll(async () => {
  wallet = await testWallet()
  accused = wallet.address as Address
})

function say(
  opens: string,
  by: NodeKey = key,
  with_ = salt,
  of: Partial<{ job: JobId }> = {},
): OpenedCommitment {
  const commitment = commitmentOf(network, job, accused, with_, opens)
  const says = { network, job, miner: accused, commitment, peer: by.peer, ...of }
  return { signed: signCommitment(says as never, by.sign), salt: with_, root: opens }
}

const saidOf = (...said: readonly OpenedCommitment[]) =>
  (equivocationMessage(job, accused, said) as { data: { said: object[] } }).data.said

const register = (peer: string) =>
  signedBy(wallet, network, { Action: 'Register', 'Peer-Id': peer, 'Node-Signature': 'x', Expires: '1' })

const file = (fields: object): ProofFile =>
  readProof(
    JSON.stringify({ kind: 'equivocation', v: 1, network, job, accused, peers: [key.peer], ...fields }),
  )

/** One statement against what the wallet committed to and revealed. */
async function againstReveal() {
  const commit = {
    Action: 'Commit',
    Job: job,
    'Output-Commitment': commitmentOf(network, job, accused, salt, root),
  }
  const reveal = {
    Action: 'Reveal',
    Job: job,
    Salt: salt,
    Count: '2',
    Finish: 'stop',
    'Token-Digest': statement.tokenDigest,
    'Checkpoint-Root': statement.checkpointRoot,
    'Kv-Root': statement.kvRoot,
    'Answer-Root': statement.answerRoot,
  }
  return file({
    said: saidOf(say(otherRoot)),
    revealed: { ...terms, statement, resultRoot: root },
    signed: {
      wallet: keyOf(wallet),
      registers: [await register(key.peer)],
      commit: await signedBy(wallet, network, commit),
      reveal: await signedBy(wallet, network, reveal, '{"pieces":["QQ==","Qg=="]}'),
    },
  })
}

/** Two statements, under two salts and by two keys of the wallet. */
async function ofTwoKeys() {
  const second = nodeKey(Uint8Array.from(Buffer.from(digestOf('second key'), 'base64url')))
  const peers = [key.peer, second.peer]
  const registers = await Promise.all(peers.map(register))
  const said = saidOf(say(root), say(otherRoot, second, otherSalt))
  return file({ peers, said, signed: { wallet: keyOf(wallet), registers } })
}

async function codeOf(changed: object): Promise<string | undefined> {
  try {
    await checkProof(readProof(JSON.stringify(changed)))
    return undefined
  } catch (error) {
    return (error as { code?: string }).code
  }
}

it.each([
  ['one statement against the reveal', againstReveal, 'the miner said'],
  ['two statements', ofTwoKeys, 'the node signed'],
] as const)(
  '%s: a file that anyone can check, and that is refused when one letter is changed',
  async (_, make, words) => {
    const whole = await make()
    const story = await checkProof(whole)
    expect(story).toMatchObject({ guilty: true, signed: true, operation: 'equivocation' })
    expect(story.lines.slice(2, 4).join('\n')).toContain(words)
    expect(story.lines.join('\n')).toContain(otherRoot)
    for (const { path, value } of altered(whole))
      expect([path, await codeOf(value as object)]).toEqual([path, expect.any(String)])

    const { signed: _signed, ...bare } = whole
    const unsigned = await checkProof(readProof(JSON.stringify(bare)))
    expect(unsigned).toMatchObject({ guilty: true, signed: false })
    expect(unsigned.lines.at(-1)).toContain('is on trust')
    for (const { path, value } of altered(bare))
      expect([path, await codeOf(value as object)]).toEqual([path, expect.any(String)])
  },
)

it('names the check that fails', async () => {
  const whole = (await ofTwoKeys()) as Extract<ProofFile, { kind: 'equivocation' }>
  const { signed: _, ...bare } = whole
  const one = { ...bare, peers: [key.peer] }
  const refused: [string, object][] = [
    ['same-root', { ...one, said: saidOf(say(root), say(root)) }],
    ['bad-data', { ...one, said: saidOf(say(root)) }],
    ['wrong-key', { ...bare, said: saidOf(say(root), say(otherRoot)) }],
    ['wrong-key', { ...one, peers: ['12D3KooWnobody'], said: saidOf(say(root), say(otherRoot)) }],
    [
      'other-seat',
      { ...one, said: saidOf(say(root), say(otherRoot, key, salt, { job: digestOf('x') as JobId })) },
    ],
    ['other-seat', { ...bare, network: digestOf('elsewhere') }],
    ['wrong-opening', { ...one, said: saidOf(say(root), { ...say(otherRoot), salt: otherSalt }) }],
    ['bad-data', { ...whole, signed: { ...whole.signed, registers: [] } }],
    [
      'wrong-message',
      { ...whole, signed: { ...whole.signed, registers: whole.signed!.registers.toReversed() } },
    ],
  ]
  for (const [code, changed] of refused) expect([code, await codeOf(changed)]).toEqual([code, code])
  const bytes = Buffer.from('no CBOR').toString('base64')
  expect(await codeOf({ ...bare, said: [{ ...bare.said[0], statement: bytes }, bare.said[1]] })).toBe(
    'bad-statement',
  )
})
