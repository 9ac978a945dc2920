import { randomBytes } from 'node:crypto'
import { nodeKey } from '@apus/shared/p2p'
import {
  type Address,
  type Digest,
  type JobId,
  type ProcessId,
  signBinding,
  signCommitment,
} from '@apus/shared/protocol'
import fc from 'fast-check'
import { expect, it } from 'vitest'
import type { PeerBinding } from '../../../../shared/src/protocol/identity.ts'
import {
  decodeCommitment,
  encodeCommitment,
  MAX_COMMITMENT_BYTES,
  verifyBinding,
  verifyCommitment,
  verifyPeerSignature,
} from '../../../../shared/src/protocol/signed-commitment.ts'
import { randomId } from '../../../support/p2p.ts'

const BASE58 = '123456789ABCDEFGHJKLMNPQRSTUVWXYZabcdefghijkmnopqrstuvwxyz'

/** The peer id of an Ed25519 point: the key itself behind its multihash header, in base58. */
function peerOf(point: Buffer): string {
  let text = ''
  for (let left = BigInt(`0x002408011220${point.toString('hex')}`); left > 0n; left /= 58n)
    text = BASE58[Number(left % 58n)] + text
  return `1${text}`
}

const key = nodeKey(randomBytes(32))
const statement = () =>
  signCommitment(
    {
      network: randomId<ProcessId>(),
      job: randomId<JobId>(),
      miner: randomId<Address>(),
      commitment: randomId<Digest>(),
      peer: key.peer,
    },
    key.sign,
  )

it('travels as one canonical encoding below the size limit and verifies on the other side', () => {
  const s = statement()
  const bytes = encodeCommitment(s)
  expect(bytes.length).toBeLessThan(MAX_COMMITMENT_BYTES / 2)
  expect(decodeCommitment(bytes)).toEqual(s)
  expect(verifyCommitment(decodeCommitment(bytes))).toBe(true)
})

it('a signed commitment with one changed byte is refused', () => {
  const s = statement()
  const bytes = encodeCommitment(s)
  fc.assert(
    fc.property(fc.nat(bytes.length - 1), fc.integer({ min: 1, max: 255 }), (at, change) => {
      const forged = Uint8Array.from(bytes)
      forged[at] = (forged[at] as number) ^ change
      try {
        return !verifyCommitment(decodeCommitment(forged))
      } catch (error) {
        return ['not-canonical', 'statement-invalid'].includes((error as { code: string }).code)
      }
    }),
    { numRuns: 2000 },
  )
})

it('a signed commitment cannot be passed off as another key’s, nor as a binding', () => {
  const s = statement()
  expect(verifyCommitment({ ...s, peer: nodeKey(randomBytes(32)).peer })).toBe(false)
  expect(verifyCommitment({ ...s, peer: 'QmYyQSo1c1Ym7orWxLYvCrM2EmxFTANf8wXmmE7DWjhx5N' })).toBe(false)
  expect(verifyCommitment({ ...s, peer: 'nonsense' })).toBe(false)
  const binding: PeerBinding = { network: s.network, wallet: s.miner, peer: key.peer, expires: 9 }
  expect(verifyBinding(binding, signBinding(binding, key.sign))).toBe(true)
  expect(verifyBinding({ ...binding, expires: 10 }, signBinding(binding, key.sign))).toBe(false)
  expect(verifyBinding(binding, Buffer.from(s.signature).toString('base64url'))).toBe(false)
})

it('a key with which anybody could sign is refused', () => {
  expect(verifyPeerSignature(key.peer, Buffer.from('a'), key.sign(Buffer.from('a')))).toBe(true)
  const neutral = Buffer.from(`01${'00'.repeat(31)}`, 'hex')
  const signature = Buffer.concat([neutral, Buffer.alloc(32)])
  // Of these a signature is found in a few tries; of the first, any message has this one.
  for (const y of [
    '0100000000000000000000000000000000000000000000000000000000000000',
    '0000000000000000000000000000000000000000000000000000000000000080',
    'ecffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f',
    'eeffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff',
    '26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc85',
    'c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac037a',
  ]) {
    const peer = peerOf(Buffer.from(y, 'hex'))
    for (let tries = 0; tries < 64; tries++)
      expect(verifyPeerSignature(peer, randomBytes(8), signature), y).toBe(false)
  }
})

it('a node key never prints its seed and always has the same peer id', () => {
  const seed = new Uint8Array(32).fill(7)
  const text = `${JSON.stringify(nodeKey(seed))}${nodeKey(seed).seed}`
  expect(text).not.toContain('7,7')
  expect(text).toContain('[redacted]')
  expect(nodeKey(seed).peer).toBe(nodeKey(seed).peer)
  expect(() => nodeKey(new Uint8Array(31))).toThrow(expect.objectContaining({ code: 'key-invalid' }))
})
