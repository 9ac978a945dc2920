import { randomBytes } from 'node:crypto'
import {
  type Address,
  type Digest,
  decodeCommitment,
  encodeCommitment,
  type JobId,
  MAX_COMMITMENT_BYTES,
  nodeKey,
  type PeerBinding,
  type ProcessId,
  signBinding,
  signCommitment,
  verifyBinding,
  verifyCommitment,
} from '@apus/shared'
import fc from 'fast-check'
import { expect, it } from 'vitest'
import { randomId } from '../../support/p2p.ts'

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

it('no changed byte of a statement passes for it', () => {
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

it('a statement cannot be passed off as another key’s, nor a commitment as a binding', () => {
  const s = statement()
  expect(verifyCommitment({ ...s, peer: nodeKey(randomBytes(32)).peer })).toBe(false)
  expect(verifyCommitment({ ...s, peer: 'QmYyQSo1c1Ym7orWxLYvCrM2EmxFTANf8wXmmE7DWjhx5N' })).toBe(false)
  expect(verifyCommitment({ ...s, peer: 'nonsense' })).toBe(false)
  const binding: PeerBinding = { network: s.network, wallet: s.miner, peer: key.peer, expires: 9 }
  expect(verifyBinding(binding, signBinding(binding, key.sign))).toBe(true)
  expect(verifyBinding({ ...binding, expires: 10 }, signBinding(binding, key.sign))).toBe(false)
  expect(verifyBinding(binding, Buffer.from(s.signature).toString('base64url'))).toBe(false)
})

it('a node key never prints its seed and always has the same peer id', () => {
  const seed = new Uint8Array(32).fill(7)
  const text = `${JSON.stringify(nodeKey(seed))}${nodeKey(seed).seed}`
  expect(text).not.toContain('7,7')
  expect(text).toContain('[redacted]')
  expect(nodeKey(seed).peer).toBe(nodeKey(seed).peer)
  expect(() => nodeKey(new Uint8Array(31))).toThrow(expect.objectContaining({ code: 'key-invalid' }))
})
