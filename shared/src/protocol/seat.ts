import { createHash } from 'node:crypto'
import { digest } from '../hashing/digest.ts'
import type { Address, JobId } from './identity.ts'

export interface Candidate {
  readonly miner: Address
  /** Whole stake units, at least 1, below 2^31; the sum over all candidates stays below 2^40. */
  readonly weight: number
}

export const seatSeed = (hashChain: string, job: JobId, round: number): string =>
  digest('apus/seat-seed', hashChain, job, String(round))

/**
 * Draws `count` different candidates with chances linear in weight: seat i takes the candidate at position
 * (first 6 bytes of SHA-256(seed ‖ ":" ‖ i), big-endian) mod (weight left), in address order. The Lua twin is
 * contracts-lua/src/jobs/seats.lua. Returns fewer seats when candidates run out.
 */
export function drawSeats(seed: string, candidates: readonly Candidate[], count: number): Address[] {
  const left = [...candidates].sort((a, b) => (a.miner < b.miner ? -1 : 1))
  let total = left.reduce((sum, c) => sum + c.weight, 0)
  const seats: Address[] = []
  for (let i = 0; i < count && left.length > 0; i++) {
    let point = createHash('sha256').update(`${seed}:${i}`).digest().readUIntBE(0, 6) % total
    const at = left.findIndex(c => {
      if (point < c.weight) return true
      point -= c.weight
      return false
    })
    const [chosen] = left.splice(at, 1)
    if (chosen === undefined) throw new RangeError('weights must be positive integers')
    total -= chosen.weight
    seats.push(chosen.miner)
  }
  return seats
}
